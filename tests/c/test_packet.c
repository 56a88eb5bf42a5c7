/* Reading inner packets: headers of every kind, cut short at every byte. */
#include "packet.h"

#include "merge.h"
#include "flows.h"

static uint8_t big[PACKET_MAX], again[PACKET_MAX];

static void
test_packets_are_parsed_or_refused(void)
{
	unsigned random = 11;
	struct gw_packet info;
	size_t len, i;

	for (i = 0; i < FLOWS; i++) {
		len = make_packet(big, &flows[i], 50, &random);
		CHECK(gw_packet_parse(big, len + 9, &info) == GW_OK &&
			info.len == len); /* padded */
		CHECK(info.source_port == flows[i].sport &&
			info.dest_port == flows[i].dport);
		CHECK(info.tos == flows[i].tos && info.plain && !info.fragment);
		while (len-- > 0)
			CHECK(gw_packet_parse(big, len, &info) == GW_E_SHORT);
	}
	(void)make_packet(big, &tcp4, 50, &random);
	big[0] = 0x44;
	CHECK(gw_packet_parse(big, 102, &info) == GW_E_INVALID);
	big[0] = 0x55;
	CHECK(gw_packet_parse(big, 102, &info) == GW_E_INVALID);
	big[0] = 0x45;
	put16(big + 2, 19);
	CHECK(gw_packet_parse(big, 102, &info) == GW_E_INVALID);
	/* A TCP header that ends behind the packet is no header. */
	(void)make_packet(big, &tcp4, 0, &random);
	big[32] = 0xf0;
	CHECK(gw_packet_parse(big, 52, &info) == GW_OK && info.l4_header_len == 0 &&
		info.has_ports);
	CHECK(!gw_merge_can(big, &info, true));
}

static void
test_ipv6_extension_headers_are_walked(void)
{
	static const uint8_t chain[] = {
		43, 0, 0, 0, 0, 0, 0, 0, /* hop-by-hop, then routing */
		60, 0, 0, 0, 0, 0, 0, 0, /* routing, then destination options */
		44, 1, 0, 0, 0, 0, 0, 0, /* destination options of 16 bytes ... */
		0, 0, 0, 0, 0, 0, 0, 0,  /* ... then a fragment header */
		17, 0, 0, 1, 0, 0, 0, 9, /* first fragment, more follow */
	};
	unsigned random = 12;
	struct gw_packet info;
	size_t at;

	(void)make_packet(again, &flows[3], 20, &random);
	memcpy(big, again, 40);
	memcpy(big + 40, chain, sizeof(chain));
	memcpy(big + 40 + sizeof(chain), again + 40, 28);
	big[6] = 0;
	put16(big + 4, (unsigned)sizeof(chain) + 28);
	info = parsed(big, 40 + sizeof(chain) + 28);
	CHECK(info.protocol == 17 && info.has_ports && info.source_port == 500 &&
		!info.plain);
	CHECK(info.fragment && info.ip_len == 40 + sizeof(chain));
	put16(big + 40 + 32 + 2, 8); /* a later fragment */
	info = parsed(big, 40 + sizeof(chain) + 28);
	CHECK(info.fragment && !info.has_ports);
	/* Cut short anywhere, the chain is never read past its end. */
	for (at = 0; at < sizeof(chain); at++) {
		put16(big + 4, (unsigned)at);
		info = parsed(big, 40 + at);
		CHECK(!info.has_ports);
	}
}

int
main(void)
{
	test_packets_are_parsed_or_refused();
	test_ipv6_extension_headers_are_walked();
	return 0;
}
