// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/piitext.h"

#include <stdio.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char digits[] = "0123456789";
static const char hex[] = "0123456789abcdef";
static const char plain[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
static const char url[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char upper[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

static const char *pick(struct rng *r, const char *const *list, size_t n)
{
    return list[rng_below(r, (uint32_t) n)];
}
#define PICK(r, list) pick(r, list, COUNT(list))

static void fill(struct rng *r, char *out, size_t n, const char *set)
{
    const uint32_t size = (uint32_t) strlen(set);

    for (size_t i = 0; i < n; i++)
        out[i] = set[rng_below(r, size)];
    out[n] = '\0';
}

// "# #-#": each # is a digit, % a digit but 0; the rest stays.
static void pattern(struct rng *r, char *out, const char *form)
{
    for (; *form; form++, out++)
        *out = *form == '#'   ? digits[rng_below(r, 10)]
               : *form == '%' ? digits[1 + rng_below(r, 9)]
                              : *form;
    *out = '\0';
}

static void group(char *out, const char *d, const char *sizes, const char *mark)
{
    const size_t n = strlen(d), mark_bytes = strlen(mark);

    for (size_t at = 0; at < n; sizes += sizes[1] ? 1 : 0) {
        const size_t size = (size_t) (*sizes - '0');
        const size_t k = size < n - at ? size : n - at;
        if (at > 0) {
            memcpy(out, mark, mark_bytes);
            out += mark_bytes;
        }
        memcpy(out, d + at, k);
        out += k;
        at += k;
    }
    *out = '\0';
}

static char luhn_digit(const char *d)
{
    unsigned sum = 0;
    size_t n = strlen(d);

    for (size_t i = 0; i < n; i++) {
        unsigned x = (unsigned) (d[n - 1 - i] - '0');
        if (i % 2 == 0)
            x = x * 2 > 9 ? x * 2 - 9 : x * 2;
        sum += x;
    }
    return digits[(10 - sum % 10) % 10];
}

static void end_with_luhn(char *d)
{
    size_t n = strlen(d);

    d[n] = luhn_digit(d);
    d[n + 1] = '\0';
}

static void widen(char *out, const char *d)
{
    for (; *d; d++)
        out += *d >= '0' && *d <= '9'
                   ? sprintf(out, "\xef\xbc%c", 0x90 + (*d - '0'))
                   : sprintf(out, "%c", *d);
}

/*
 * Values
 */

typedef const char *value_fn(struct rng *r, char *out, bool *is_hard);

static const char *card(struct rng *r, char *out, bool *is_hard)
{
    static const char *const forms[] = {
        "4##############", "51#############", "55#############",
        "2221###########", "34############",  "37############",
        "6011###########", "65#############", "36###########",
        "3530###########", "62#############", "4###########",
        "2202###########",
    };
    char d[32], g[64];

    pattern(r, d, PICK(r, forms));
    end_with_luhn(d);
    const bool is_short = strlen(d) < 16;
    const char *sizes = strlen(d) == 15 ? "465" : strlen(d) == 14 ? "464" : "4";
    switch (rng_below(r, is_short ? 4 : 7)) {
    case 0:
    case 1:
        strcpy(out, d);
        return "plain";
    case 2:
        group(out, d, sizes, " ");
        return "blanks";
    case 3:
        group(out, d, sizes, "-");
        return "dashes";
    case 4:
        group(g, d, sizes, " ");
        widen(out, g);
        return "wide digits";
    case 5:
        group(out, d, sizes, "\xc2\xa0");
        return "no-break blanks";
    default:
        if (rng_below(r, 3) == 0) {
            group(out, d, "4", ".");
            return "points";
        }
        if (rng_below(r, 2) == 0) {
            group(out, d, "4", "\n");
            return "over lines";
        }
        *is_hard = true;
        group(out, d, "28", " ");
        return "in other groups";
    }
}

static const char *iban(struct rng *r, char *out, bool *is_hard)
{
    static const char *const forms[] = {
        "DE##################",   "FR#####################%#",
        "GBNWBK##############",   "NLABNA##########",
        "ES####################", "ITX######################",
        "CH#################",    "PL########################",
        "SE####################", "BE############",
        "AT################",     "DK##############",
        "NO###########",          "IEAIBK##############",
    };
    char b[40], t[48];
    unsigned rest = 0;
    const char *form = PICK(r, forms);

    // Country, two digits that make it 1 mod 97, account.
    pattern(r, b, form + 2);
    snprintf(t, sizeof(t), "%s%.2s00", b, form);
    for (const char *p = t; *p; p++)
        rest = *p <= '9' ? (rest * 10 + (unsigned) (*p - '0')) % 97
                         : (rest * 100 + (unsigned) (*p - 'A') + 10) % 97;
    snprintf(t, sizeof(t), "%.2s%02u%s", form, 98 - rest, b);
    switch (rng_below(r, 8)) {
    case 0:
    case 1:
    case 2:
        strcpy(out, t);
        return "plain";
    case 3:
    case 4:
    case 5:
        group(out, t, "4", " ");
        return "in fours";
    case 6:
        for (size_t i = 0; t[i]; i++)
            out[i] = t[i] >= 'A' && t[i] <= 'Z' ? (char) (t[i] + 32) : t[i];
        out[strlen(t)] = '\0';
        return "small letters";
    default:
        *is_hard = true;
        group(out, t, "4", ".");
        return "points between";
    }
}

static const char *email(struct rng *r, char *out, bool *is_hard)
{
    static const char *const names[] = {
        "maren.holt", "j_smith", "anna",  "li.wei", "o.brien+news", "k-weber",
        "info",       "jörg",    "a.b.c", "пётр",   "x92",          "team42",
    };
    static const char *const hosts[] = {
        "example.org", "mail.example.co.uk", "gmail.com",
        "web.de",      "uni-bonn.de",        "posteo.net",
        "müller.de",   "sub.a-b.io",         "example.museum",
    };
    const char *n = PICK(r, names), *h = PICK(r, hosts);

    switch (rng_below(r, 8)) {
    case 0:
        *is_hard = true;
        sprintf(out, "%s (at) %s", n, h);
        return "(at)";
    case 1:
        sprintf(out, "%s\xef\xbc\xa0%s", n, h);
        return "wide @";
    default:
        sprintf(out, "%s@%s", n, h);
        return "plain";
    }
}

static const char *ip(struct rng *r, char *out, bool *is_hard)
{
    char h[8];

    switch (rng_below(r, 8)) {
    case 0:
        *is_hard = true;
        sprintf(out, "%u.%u.%u.%u", 1 + rng_below(r, 9), rng_below(r, 10),
                rng_below(r, 10), rng_below(r, 10));
        return "four single digits";
    case 1:
    case 2:
        sprintf(out, "192.168.%u.%u", rng_below(r, 256), rng_below(r, 256));
        return "private";
    case 3:
        sprintf(out, "2001:db8:%x:%x:%x:%x:%x:%x", 1 + rng_below(r, 65535),
                rng_below(r, 65536), rng_below(r, 65536), rng_below(r, 65536),
                rng_below(r, 65536), rng_below(r, 65536));
        return "IPv6";
    case 4:
        fill(r, h, 4, hex);
        sprintf(out, "fe80::%s:%x:fe%x", h, 1 + rng_below(r, 4095),
                rng_below(r, 256));
        return "IPv6, short";
    default:
        sprintf(out, "%u.%u.%u.%u", 11 + rng_below(r, 112), rng_below(r, 256),
                rng_below(r, 256), 1 + rng_below(r, 254));
        return "IPv4";
    }
}

static const char *mac(struct rng *r, char *out, bool *is_hard)
{
    char d[16];

    fill(r, d, 12, hex);
    d[0] = 'a';
    d[5] = '4';
    switch (rng_below(r, 6)) {
    case 0:
        *is_hard = true;
        strcpy(out, d);
        return "without marks";
    case 1:
        group(out, d, "4", ".");
        return "points";
    case 2:
        group(out, d, "2", "-");
        return "dashes";
    default:
        group(out, d, "2", ":");
        return "colons";
    }
}

static const char *phone(struct rng *r, char *out, bool *is_hard)
{
    static const struct {
        const char *form, *name;
        bool is_hard;
    } forms[] = {
        {"+49 30 %######", "+, blanks", false},
        {"+49%#########", "+, plain", false},
        {"+49 (0)%## %####-##", "+, (0)", false},
        {"+1 2## 5##-####", "+, American", false},
        {"+44 7%## ######", "+, British", false},
        {"+33 6 %# ## ## ##", "+, French", false},
        {"+81-3-%###-####", "+, dashes", false},
        {"0049 %## #######", "00", false},
        {"(2##) 5##-####", "American, ( )", false},
        {"3##-5##-####", "American, dashes", false},
        {"4##.5##.####", "American, points", false},
        {"1-8##-5##-####", "American, 1-", false},
        {"0%##/%######", "German, /", false},
        {"0%#-%######", "trunk 0, dash", false},
        {"0%### %#####", "trunk 0, blank", false},
        {"06 %# ## ## ##", "French", false},
        {"020 7%## ####", "British", false},
        {"(0%##) %#####", "trunk 0, ( )", false},
        {"7%######", "eight digits alone", true},
        {"5%#-%###", "seven digits alone", true},
        {"3%#5######", "ten digits alone", true},
        {"1%%########", "Chinese, alone", true},
    };
    const uint32_t i = rng_below(r, COUNT(forms));

    pattern(r, out, forms[i].form);
    *is_hard = forms[i].is_hard;
    return forms[i].name;
}

static const char *login(struct rng *r, char *out, bool *is_hard)
{
    char pass[24];
    static const char *const users[] = {"admin", "maren", "", "svc-db", "root"};

    (void) is_hard;
    fill(r, pass, 6 + rng_below(r, 12), plain);
    sprintf(out, "%s:%s", PICK(r, users), pass);
    return "user:password@";
}

static const char *token(struct rng *r, char *out, bool *is_hard)
{
    static const struct {
        const char *name, *prefix, *set;
        size_t n;
    } forms[] = {
        {"AWS", "AKIA", upper, 16},
        {"GitHub", "ghp_", plain, 36},
        {"GitHub", "gho_", plain, 36},
        {"GitLab", "glpat-", url, 20},
        {"Slack", "xoxb-1", digits, 11},
        {"Stripe", "sk_live_", plain, 24},
        {"Google", "AIza", url, 35},
        {"OpenAI", "sk-proj-", url, 64},
        {"OpenAI", "sk-", plain, 48},
        {"Anthropic", "sk-ant-api03-", url, 93},
        {"Hugging Face", "hf_", plain, 34},
        {"npm", "npm_", plain, 36},
        {"DigitalOcean", "dop_v1_", hex, 64},
        {"Shopify", "shpat_", hex, 32},
        {"Twilio", "SK", hex, 32},
        {"Databricks", "dapi", hex, 32},
        {"Linear", "lin_api_", plain, 40},
        {"Vault", "hvs.", url, 90},
        {"Supabase", "sbp_", hex, 40},
        {"Docker", "dckr_pat_", url, 27},
        {"bare hex", "", hex, 40},
        {"bare base64", "", url, 43},
    };
    const uint32_t i = rng_below(r, COUNT(forms) + 3);
    char a[128], b[128], c[128];

    if (i == COUNT(forms)) {
        fill(r, a, 30, plain);
        fill(r, b, 60, url);
        fill(r, c, 43, plain);
        sprintf(out, "eyJ%s.eyJ%s.%s", a, b, c);
        return "JWT";
    }
    if (i == COUNT(forms) + 1) {
        fill(r, a, 64, plain);
        fill(r, b, 64, plain);
        sprintf(out,
                "-----BEGIN OPENSSH PRIVATE KEY-----\n%s\n%s=\n"
                "-----END OPENSSH PRIVATE KEY-----",
                a, b);
        return "PEM";
    }
    if (i == COUNT(forms) + 2) {
        fill(r, a, 8, digits);
        fill(r, b, 35, plain);
        sprintf(out, "2%s:%s", a, b);
        return "Telegram";
    }
    fill(r, a, forms[i].n, forms[i].set);
    if (forms[i].prefix[0] && forms[i].set == url)
        a[forms[i].n - 1] = 'k';
    a[1] = '7';
    sprintf(out, "%s%s", forms[i].prefix, a);
    *is_hard = forms[i].prefix[0] == '\0';
    if (strcmp(forms[i].name, "Slack") == 0) {
        fill(r, b, 24, plain);
        strcat(out, "-");
        strcat(out, b);
    }
    return forms[i].name;
}

static const char *password(struct rng *r, char *out, bool *is_hard)
{
    static const char *const easy[] = {"hunter2",      "Tr0ub4dor&3",
                                       "S3cure!pass",  "20Biene25",
                                       "correctHorse", "p@ssw0rd"};
    static const char *const words[] = {"butterfly", "geheim", "letmein",
                                        "swordfish"};

    if (rng_below(r, 5) == 0) {
        *is_hard = true;
        strcpy(out, PICK(r, words));
        return "a plain word";
    }
    if (rng_below(r, 3) == 0) {
        fill(r, out, 8 + rng_below(r, 10), plain);
        out[2] = '9';
        return "random";
    }
    strcpy(out, PICK(r, easy));
    return "word and digits or marks";
}

static const char *code(struct rng *r, char *out, bool *is_hard)
{
    static const char *const forms[] = {"######",  "######", "######",
                                        "####",    "#####",  "########",
                                        "###-###", "### ###"};

    (void) is_hard;
    pattern(r, out, PICK(r, forms));
    return "digits";
}

/*
 * Identity numbers
 */

static unsigned sum(const char *d, const char *weights)
{
    unsigned s = 0;

    for (size_t i = 0; weights[i]; i++)
        s += (unsigned) (d[i] - '0') * (unsigned) (weights[i] - '0');
    return s;
}

static uint64_t number(const char *d)
{
    uint64_t n = 0;

    for (; *d >= '0' && *d <= '9'; d++)
        n = n * 10 + (uint64_t) (*d - '0');
    return n;
}

static void day(struct rng *r, char *out, const char *order)
{
    *out = '\0';
    for (; *order; order++, out += 2)
        snprintf(out, 3, "%02u",
                 *order == 'y'   ? rng_below(r, 100)
                 : *order == 'm' ? 1 + rng_below(r, 12)
                                 : 1 + rng_below(r, 28));
}

static const char *id_european(struct rng *r, char *out, uint32_t which)
{
    char d[64], t[80];

    switch (which) {
    case 0: // Spain
        pattern(r, d, "########");
        sprintf(out, "%s%c", d, "TRWAGMYFPDXBNJZSQVHLCKE"[number(d) % 23]);
        return "Spanish DNI";
    case 1:
        day(r, d, "dmy");
        pattern(r, t, "###");
        sprintf(d + 6, "%.3s", t);
        sprintf(out, "%.6s-%s%c", d, t,
                "0123456789ABCDEFHJKLMNPRSTUVWXY"[number(d) % 31]);
        return "Finnish";
    case 2:
        day(r, d, "ymd");
        pattern(r, d + 6, "###");
        end_with_luhn(d);
        sprintf(out, "%.6s-%s", d, d + 6);
        return "Swedish";
    case 3:
        pattern(r, d, "185####%##%##");
        sprintf(d + 3, "%02u%02u%03u%03u", 1 + rng_below(r, 12),
                1 + rng_below(r, 95), 1 + rng_below(r, 900),
                1 + rng_below(r, 900));
        sprintf(t, "%s%02u", d, 97 - (unsigned) (number(d) % 97));
        group(out, t, rng_below(r, 2) ? "1222332" : "9",
              rng_below(r, 2) ? " " : " ");
        if (strlen(out) == 16) // 9 and 6 would be nobody's way
            strcpy(out, t);
        return "French NIR";
    case 4:
        pattern(r, out, "AB %# ## ## C");
        return "British NINO";
    case 5:
        day(r, d, "ymd");
        pattern(r, d + 6, "###");
        sprintf(t, "%02u", 97 - (unsigned) (number(d) % 97));
        sprintf(out, "%.2s.%.2s.%.2s-%.3s.%s", d, d + 2, d + 4, d + 6, t);
        return "Belgian";
    default:
        pattern(r, d, "756#########");
        sprintf(t, "%s%u", d, (10 - sum(d, "131313131313") % 10) % 10);
        group(out, t, "3442", ".");
        return "Swiss AHV";
    }
}

static const char *id(struct rng *r, char *out, bool *is_hard)
{
    char d[32];
    const uint32_t which = rng_below(r, 11);
    unsigned a, b;

    switch (which) {
    case 7:
        sprintf(out, "%03u-%02u-%04u", 1 + rng_below(r, 600),
                1 + rng_below(r, 99), 1 + rng_below(r, 9999));
        return "US SSN";
    case 8:
        pattern(r, d, "%########");
        a = (11 -
             (10 * (unsigned) (d[0] - '0') + sum(d + 1, "98765432")) % 11) %
            11 % 10;
        d[9] = digits[a];
        b = 11 * (unsigned) (d[0] - '0') + 10 * (unsigned) (d[1] - '0') +
            sum(d + 2, "98765432");
        d[10] = digits[(11 - b % 11) % 11 % 10];
        d[11] = '\0';
        sprintf(out, "%.3s.%.3s.%.3s-%s", d, d + 3, d + 6, d + 9);
        return "Brazilian CPF";
    case 9:
        pattern(r, d, "110101");
        sprintf(d + 6, "%u", 1950 + rng_below(r, 60));
        day(r, d + 10, "md");
        pattern(r, d + 14, "###");
        a = 0;
        for (size_t i = 0; i < 17; i++)
            a += (unsigned) (d[i] - '0') * ((1u << (17 - i)) % 11);
        sprintf(out, "%s%c", d, "10X98765432"[a % 11]);
        return "Chinese";
    case 10:
        *is_hard = true;
        pattern(r, out, "%########");
        return "nine digits, without a name";
    default:
        return id_european(r, out, which);
    }
}

/*
 * Sentences: @ is where the value goes
 */

static const char *const card_places[] = {
    "My card is @, valid thru 09/27.",
    "Bitte buche es von der @ ab.",
    "card number: @",
    "Visa @ CVV 123",
    "paid with @ yesterday",
    "{\"number\":\"@\",\"brand\":\"x\"}",
    "Carte bancaire : @.",
    "カード番号は@です",
    "(@)",
};
static const char *const iban_places[] = {
    "IBAN: @",
    "Überweise bitte auf @, danke!",
    "account @ at the bank",
    "Mon RIB est @.",
    "send it to @ today",
    "\"iban\": \"@\"",
};
static const char *const id_places[] = {
    "His number is @.", "id @ on the form",      "Numéro : @",
    "DNI @, Madrid",    "born here, @, married", "\"@\"",
};
static const char *const email_places[] = {
    "Write to @.",
    "From: Maren <@>",
    "mailto:@?subject=hi",
    "Meine Adresse ist @!",
    "cc @, please",
    "联系@谢谢",
    "(@)",
    "@ wrote:",
};
static const char *const phone_places[] = {
    "My number: @",
    "You reach me at @ after six.",
    "Ruf mich an unter @.",
    "@ (office)",
    "Maren, @, Bonn",
    "Mon numéro c'est le @",
    "请打@给我",
};
static const char *const ip_places[] = {
    "The printer is at @.",
    "ssh root@@",
    "from @ port 22",
    "ping @ fails",
    "Die Adresse @ antwortet.",
    "http://@:8080/x",
    "allow @/24;",
};
static const char *const mac_places[] = {
    "link/ether @ brd",
    "The laptop has @.",
    "MAC: @",
    "(@) joined",
};
static const char *const login_places[] = {
    "postgres://@@db.local:5432/app",
    "clone https://@@git.example.org/x.git",
    "DSN=mysql://@@db/x",
    "ftp://@@files.example.org",
};
static const char *const key_places[] = {
    "The key is @ for now.",
    "export TOKEN=@",
    "token: \"@\",",
    "use @ here",
    "Authorization: Bearer @",
    "key='@'",
    "@",
};
static const char *const password_places[] = {
    "password: @",
    "Das Passwort lautet @",
    "PASSWORD=@",
    "\"password\": \"@\"",
    "The wifi password is @.",
    "mot de passe : @",
    "contraseña: @",
    "Пароль: @",
    "密码：@",
    "pwd=@;",
    "user maren, pass: @",
};
static const char *const code_places[] = {
    "Your verification code is @.",
    "@ is your login code. Don't share it.",
    "Ihr Bestätigungscode lautet @",
    "Dein Code: @",
    "Votre code de vérification est @.",
    "Tu código de verificación es @",
    "Il tuo codice di verifica è @.",
    "Ваш код подтверждения: @",
    "您的验证码是@，5分钟内有效",
    "認証コード：@",
    "[App] 인증번호는 @입니다",
    "OTP for your purchase at Holt Ltd is @",
    "Use code @ to sign in.",
    "mTAN @ für die Überweisung",
    "Jouw inlogcode is @",
    "Kod weryfikacyjny: @",
    "Onay kodu: @",
};
static const char *const code_hard[] = {
    "The door opens with @.",
    "Type @ and then the hash key.",
    "@ - that is what they sent me",
};

static const char *const negatives[] = {
    "Order #%### ######## was shipped on 2024-03-0%.",
    "Order number %######## is on its way.",
    "Your invoice 2023-00%#### of 12.0%.2023 is due.",
    "Tracking number 1Z%##AA##########.",
    "ISBN 978-3-%#-######-%",
    "The river is %,### km long and drains %##,### km2.",
    "It had a population of %,###,### in 201%, up from %##,###.",
    "Coordinates: 5%.1%####, -7.%#####",
    "Version %.%.1 was released, then %.1%.0-rc%.",
    "version %.%.1%.%## fixes it",
    "Chrome/12%.0.%###.1%# on Linux",
    "commit 3f%##a9be7c1d%%e0aa41bc99d2f7e%%0c61ab2f4",
    "index 8%1f0c%..a4e%1b3 100644",
    "Price: $%,###.99, was $%,###.00",
    "The total is %.###,%0 EUR for 1% nights.",
    "On 1%/0%/2023 at 12:3%:4% the train left.",
    "2023-1%-0%T1%:2%:3%+02:00 INFO started",
    "Scores were 2%-1%, 1%-2%, 2%-18 and 21-1%.",
    "uuid 3f2504e%-4f89-41d3-9a0c-0305e82c33%%",
    "Call it a day at %%.",
    "The error code is 40%, exit code 1%.",
    "ZIP code 9%#1#, area code 21%",
    "HTTP status code 50% again",
    "He was born in 18%# and died in 19%#.",
    "Room 1%##, floor %, desk 4%",
    "std::vector<int>::iterator it = v.begin() + %%##;",
    "#%f%f%f and rgb(1%#, 2%, 3%)",
    "Psalm 11%:10%, verse %",
    "pi is 3.14159265358979%, e is 2.71828182845904%",
    "The ratio 0.%############### is close.",
    "SKU 00%##-%####-A, lot 20%%0%%1",
    "Flight LH%##% leaves gate B%% at 06:%5.",
    "%%%%%%%%%%%%%%%% cells were counted",
    "It weighs 1%.%## kg, 2%.%% lb.",
    "sed -i 's/%/%/g' file.%",
    "He paid 1%00 for the %00 shares at 4%.%%.",
    "Section 3.%.2.% of the report",
    "The password must be at least 1% characters long.",
    "Password: required",
    "Forgot your password? Reset it here.",
    "the token ring network of 198%",
    "import foo@1.%.% from the registry",
    "Follow @user%% and mail the team.",
    "x = a@b where b is a matrix",
    "icon@2x.png and photo_%#.jpg",
    "1%:0%:3% up 1% days, load 0.%%, 0.1%",
    "In the years 1%%% 1%%% 1%%% 1%%% it rained.",
    "Tel Aviv has 4%#,### people",
    "Text of 15 000 words, %# pages.",
    "model sk-learn-pipeline-with-many-steps-and-words",
    "Postcode SW1A %AA, plate B-MH %##%",
    "scan 12-34-5%-7%-9%-1% done",
    "The serial is %###-%###-%###-%###.",
    "GPS 48°%%'%%\" N, 11°%%'%%\" E",
    "The PIN of the motor is number %.",
};

static void put(struct piitext *out, const char *place, const char *value)
{
    // The last @ but one where a place has two: ssh root@@, user:pass@@host.
    const char *at = strchr(place, '@');

    if (strncmp(place, "ssh", 3) == 0)
        at++;
    out->begin = (size_t) (at - place);
    out->end = out->begin + strlen(value);
    out->bytes = (size_t) snprintf(out->text, sizeof(out->text), "%.*s%s%s",
                                   (int) (at - place), place, value, at + 1);
}

static const struct {
    value_fn *value;
    const char *const *places;
    size_t n;
} classes[REDACT_CLASSES] = {
    [REDACT_CARD] = {card, card_places, COUNT(card_places)},
    [REDACT_IBAN] = {iban, iban_places, COUNT(iban_places)},
    [REDACT_ID] = {id, id_places, COUNT(id_places)},
    [REDACT_EMAIL] = {email, email_places, COUNT(email_places)},
    [REDACT_PHONE] = {phone, phone_places, COUNT(phone_places)},
    [REDACT_IP] = {ip, ip_places, COUNT(ip_places)},
    [REDACT_MAC] = {mac, mac_places, COUNT(mac_places)},
    [REDACT_LOGIN] = {login, login_places, COUNT(login_places)},
    [REDACT_KEY] = {token, key_places, COUNT(key_places)},
    [REDACT_PASSWORD] = {password, password_places, COUNT(password_places)},
    [REDACT_CODE] = {code, code_places, COUNT(code_places)},
};

void piitext_make(struct piitext *out, struct rng *r, enum redact_class class)
{
    char value[512];

    *out = (struct piitext){.variant = "nothing"};
    if (class == REDACT_CLASSES) {
        pattern(r, out->text, PICK(r, negatives));
        out->bytes = strlen(out->text);
        return;
    }
    out->variant = classes[class].value(r, value, &out->is_hard);
    if (class == REDACT_CODE && rng_below(r, 8) == 0) {
        out->is_hard = true;
        out->variant = "no word says code";
        put(out, PICK(r, code_hard), value);
        return;
    }
    put(out, pick(r, classes[class].places, classes[class].n), value);
}
