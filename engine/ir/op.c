// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/ir/op.h"

#include <errno.h>
#include <string.h>

const struct op_info op_infos[OP_COUNT] = {
#define OP(name, in_min, in_max, n_out, shape, vjp, flags) \
    [OP_##name] = {#name, in_min, in_max, n_out, flags},
#include "engine/ir/ops.def"
#undef OP
};

const struct op_attr_field op_attr_fields[] = {
#define FIELD(kind, name)                                  \
    {                                                      \
#name, ATTR_##kind, offsetof(struct op_attr, name) \
    }
    FIELD(F32, alpha),     FIELD(F32, eps),         FIELD(F32, cap),
    FIELD(F32, rope_base), FIELD(F32, rope_slower), FIELD(F32, rope_gain),
    FIELD(U8, trans_a),    FIELD(U8, trans_b),      FIELD(U8, rope_mode),
    FIELD(I8, rope_sign),  FIELD(U32, n_heads),     FIELD(U32, n_kv_heads),
    FIELD(U32, head_dim),  FIELD(U32, rope_dims),   FIELD(U32, length),
    FIELD(U32, window),    FIELD(U32, width),       FIELD(U32, n_rows),
    FIELD(U32, stream),    FIELD(U32, copies),      FIELD(U8, part),
    FIELD(U8, precision),  FIELD(U8, noise),
#undef FIELD
};
const int op_attr_field_count =
    (int) (sizeof(op_attr_fields) / sizeof(op_attr_fields[0]));

int op_updates(enum op op, int out)
{
    return (int) (op_infos[op].flags >> (4 * out) & 15u) - 1;
}

int op_inplace(enum op op)
{
    return (int) (op_infos[op].flags >> 16 & 15u) - 1;
}

int op_from_name(enum op *out, const char *name, size_t bytes)
{
    for (int i = 0; i < OP_COUNT; i++) {
        const char *s = op_infos[i].name;
        if (strlen(s) == bytes && memcmp(s, name, bytes) == 0) {
            *out = (enum op) i;
            return 0;
        }
    }
    return -ENOENT;
}

double op_attr_get(const struct op_attr *a, const struct op_attr_field *f)
{
    const char *p = (const char *) a + f->offset;
    switch (f->kind) {
    case ATTR_F32: {
        float x;
        memcpy(&x, p, sizeof(x));
        return (double) x;
    }
    case ATTR_U8:
        return *(const uint8_t *) p;
    case ATTR_I8:
        return *(const int8_t *) p;
    case ATTR_U32: {
        uint32_t x;
        memcpy(&x, p, sizeof(x));
        return x;
    }
    }
    return 0;
}

int op_attr_set(struct op_attr *a, const struct op_attr_field *f, double value)
{
    char *p = (char *) a + f->offset;
    // Beyond 2^33 nothing fits; the bound keeps the conversion defined.
    const bool is_whole =
        value > -0x1p33 && value < 0x1p33 && value == (double) (int64_t) value;

    switch (f->kind) {
    case ATTR_F32: {
        const float x = (float) value;
        memcpy(p, &x, sizeof(x));
        return 0;
    }
    case ATTR_U8:
        if (!is_whole || value < 0 || value > UINT8_MAX)
            return -ERANGE;
        *(uint8_t *) p = (uint8_t) value;
        return 0;
    case ATTR_I8:
        if (!is_whole || value < INT8_MIN || value > INT8_MAX)
            return -ERANGE;
        *(int8_t *) p = (int8_t) value;
        return 0;
    case ATTR_U32: {
        if (!is_whole || value < 0 || value > UINT32_MAX)
            return -ERANGE;
        const uint32_t x = (uint32_t) value;
        memcpy(p, &x, sizeof(x));
        return 0;
    }
    }
    return -ERANGE;
}

bool op_attr_equal(const struct op_attr *a, const struct op_attr *b)
{
    for (int i = 0; i < op_attr_field_count; i++)
        if (op_attr_get(a, &op_attr_fields[i]) !=
            op_attr_get(b, &op_attr_fields[i]))
            return false;
    return true;
}
