// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Functions of which drivers promise too little: their tanh may overflow, and
// some lose what is near zero.

float tanh_of(float x)
{
    float a = abs(x);
    float s = x * x;

    // Series to x^9 where 1 - 2 / (exp(2a) + 1) would lose digits.
    if (a < 0.3)
        return x * (1.0 + s * (-1.0 / 3.0 +
                               s * (2.0 / 15.0 +
                                    s * (-17.0 / 315.0 + s * (62.0 / 2835.0)))));
    return sign(x) * (1.0 - 2.0 / (exp(min(2.0 * a, 80.0)) + 1.0));
}

float sigmoid(float x)
{
    return 1.0 / (1.0 + exp(min(-x, 88.0)));
}

float minus_infinity()
{
    return uintBitsToFloat(0xff800000u);
}
