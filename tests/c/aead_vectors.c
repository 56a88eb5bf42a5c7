/*
 * Runs published test vectors through the ciphers. One vector a line on standard input, fields in hexadecimal ("-" =
 * empty), separated by spaces:
 *
 *   backend encr integ valid key integ_key nonce aad text sealed icv
 *
 * valid = 1: sealing `text` must give `sealed` and `icv`, and opening them `text`. valid = 0:
 * opening must fail. For CBC an empty icv is not compared. Prints the number of vectors that held; ends with 1 at the
 * first that did not. With an argument it prints the back ends this machine has instead.
 */
#include <string.h>

#include "aead.h"
#include "check.h"

#define FIELDS       11
#define LONGEST_LINE 300000
#define TEXT_MAX     65536

struct field {
	uint8_t bytes[TEXT_MAX];
	size_t len;
};

static struct field fields[FIELDS];

static unsigned
digit(char c)
{
	CHECK((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
}

static void
read_field(const char *word, struct field *field)
{
	field->len = 0;
	if (strcmp(word, "-") == 0)
		return;
	CHECK(strlen(word) % 2 == 0 && strlen(word) / 2 <= TEXT_MAX);
	for (; *word != '\0'; word += 2)
		field->bytes[field->len++] =
			(uint8_t)(digit(word[0]) << 4 | digit(word[1]));
}

static bool
read_vector(void)
{
	static char line[LONGEST_LINE];
	const char *word;
	size_t i;

	if (fgets(line, sizeof line, stdin) == NULL)
		return false;
	word = strtok(line, " \n");
	for (i = 0; i < FIELDS; i++) {
		CHECK(word != NULL);
		read_field(word, &fields[i]);
		word = strtok(NULL, " \n");
	}
	CHECK(word == NULL);
	return true;
}

static struct gw_cipher *
make_cipher(bool outbound)
{
	struct gw_sa sa = {.spi = 256,
		.backend = fields[0].bytes[0],
		.encr = fields[1].bytes[0],
		.integ = fields[2].bytes[0]};
	struct gw_cipher *cipher;

	/* An AEAD's salt is a part of the nonce, which is given whole here. */
	sa.encr_key_len =
		(uint16_t)(fields[4].len + (sa.encr == GW_ENCR_AES_CBC ? 0 : 4));
	sa.integ_key_len = (uint16_t)fields[5].len;
	memcpy(sa.encr_key, fields[4].bytes, fields[4].len);
	memcpy(sa.integ_key, fields[5].bytes, fields[5].len);
	CHECK(gw_cipher_new(&sa, outbound, &cipher) == GW_OK);
	return cipher;
}

static void
run_vector(void)
{
	static uint8_t buffer[2 * TEXT_MAX];
	const struct field *nonce = &fields[6], *aad = &fields[7], *text = &fields[8];
	const struct field *sealed = &fields[9], *icv = &fields[10];
	struct gw_cipher *seal = make_cipher(true), *open = make_cipher(false);
	uint8_t tag[32] = {0};
	struct gw_bare bare = {.nonce = nonce->bytes,
		.aad = buffer,
		.aad_len = aad->len,
		.text = buffer + aad->len,
		.len = text->len,
		.icv = tag};

	memcpy(buffer, aad->bytes, aad->len);
	if (fields[3].bytes[0] == 1) {
		memcpy(bare.text, text->bytes, text->len);
		CHECK(gw_cipher_bare_seal(seal, &bare) == GW_OK);
		CHECK(memcmp(bare.text, sealed->bytes, text->len) == 0);
		CHECK(memcmp(tag, icv->bytes, icv->len) == 0);
		CHECK(gw_cipher_bare_open(open, &bare) == GW_OK);
		CHECK(memcmp(bare.text, text->bytes, text->len) == 0);
	} else {
		bare.len = sealed->len;
		memcpy(bare.text, sealed->bytes, sealed->len);
		memcpy(tag, icv->bytes, icv->len);
		CHECK(gw_cipher_bare_open(open, &bare) == GW_E_ICV);
	}
	gw_cipher_free(seal);
	gw_cipher_free(open);
}

static void
print_backends(void)
{
	unsigned backend;

	for (backend = GW_BACKEND_OPENSSL; backend <= GW_BACKEND_IPSECMB; backend++)
		if (gw_backend_name(GW_ENCR_AES_GCM_16, GW_INTEG_NONE, 20,
			    (uint8_t)backend) != NULL)
			printf("%u ", backend);
}

int
main(int argc, char **argv)
{
	unsigned count = 0;

	(void)argv;
	if (argc > 1) {
		print_backends();
		return 0;
	}

	while (read_vector()) {
		run_vector();
		count++;
	}
	printf("%u\n", count);
	return 0;
}
