/*
 * Every reason a packet goes no further: name, text. The name is the same in C, in Python and
 * in the metrics. A drop without a reason does not compile.
 */
#ifndef GW_DROP_H
#define GW_DROP_H

#include "gw_dp.h"

#define GW_FOREACH_DROP(X)                                                               \
	X(ESP_SHORT, "esp_short", "inbound: shorter than an ESP header and ICV")         \
	X(UNKNOWN_SPI, "unknown_spi", "inbound: no SA has this SPI")                     \
	X(REPLAY, "replay", "inbound: sequence number seen or older than the window")    \
	X(ICV, "icv", "inbound: integrity check value wrong")                            \
	X(PADDING, "padding", "inbound: pad length or pad bytes wrong")                  \
	X(DUMMY, "dummy", "inbound: dummy packet (next header 59)")                      \
	X(NEXT_HEADER, "next_header", "inbound: next header is not 4 or 41")             \
	X(INNER_HEADER, "inner_header",                                                  \
		"inbound: not the IP version announced, or impossible lengths")          \
	X(INNER_TRUNCATED, "inner_truncated",                                            \
		"inner packet shorter than its header says")                             \
	X(SELECTOR_IN, "selector_in",                                                    \
		"inbound: inner packet outside the SA's selectors")                      \
	X(SELECTOR_OUT, "selector_out", "outbound: packet outside the SA's selectors")   \
	X(HARD_LIMIT, "hard_limit", "an SA has reached its hard limit")                  \
	X(SEQ_EXHAUSTED, "seq_exhausted", "outbound: no sequence number is left")        \
	X(NO_SA, "no_sa", "outbound: the tunnel has no outbound SA")                     \
	X(NO_SOCKET, "no_socket", "outbound: no socket has the path's local address")    \
	X(TOO_BIG, "too_big",                                                            \
		"outbound: does not fit and must not be fragmented (answered by ICMP)")  \
	X(BAD_OFFLOAD, "bad_offload", "outbound: virtio_net_hdr with impossible sizes")  \
	X(NOT_IP, "not_ip", "outbound: neither IPv4 nor IPv6")                           \
	X(RATE, "rate", "outbound: over the tunnel's rate cap")                          \
	X(KEEPALIVE, "keepalive", "inbound: NAT keepalive (expected)")                   \
	X(MARKER_SHORT, "marker_short", "inbound: datagram of under 4 bytes")            \
	X(PUNT_FULL, "punt_full", "inbound: the punt socket is full or absent")          \
	X(ECN, "ecn",                                                                    \
		"inbound: outer CE on an inner packet that is not ECN-capable (RFC "     \
		"6040)")                                                                 \
	X(CRYPTO, "crypto", "a crypto library call failed")                              \
	X(PATH_MTU, "path_mtu",                                                          \
		"outbound: the ESP packet is larger than the path's MTU (the tunnel's "  \
		"MTU follows)")                                                          \
	X(SEND, "send", "outbound: the kernel refused the datagram")                     \
	X(TUN_WRITE, "tun_write", "inbound: the TUN refused the packet")

enum gw_drop {
#define X(id, name, text) GW_DROP_##id,
	GW_FOREACH_DROP(X)
#undef X
		GW_DROP_COUNT
};

_Static_assert(GW_DROP_COUNT <= GW_DROPS_MAX, "gw_tunnel_stats.drops is too small");

#endif
