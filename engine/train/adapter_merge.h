// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Merging
 *
 * An adapter of any scheme put into its base model, as a model file of its
 * own; or, as far as a rank allows, into a plain LoRA that others can load.
 *
 * What a merged file changes keeps its storage type, but for types of fewer
 * than eight bits, whose steps are wider than what training changes: these
 * become f16, unless the owner names a type, or "same". Rows that do not fill
 * whole blocks of it become f16. All else is copied byte by byte. A scheme that
 * ends early drops the blocks behind its end.
 */

struct adapter;
struct error;
struct gguf;
struct model_config;

// Writes at the position of `fd`, tensor by tensor. `base` is the file that
// `m` was read from. `type` is "" for the rule above. -EINVAL with a sentence
// for one that there is not.
int adapter_merge_fd(const struct adapter *a, const struct model_config *m,
                     const struct gguf *base, const char *type, int fd,
                     struct error *err);

// The best LoRA of this rank: the truncated singular values of each weight's
// difference. The gains of a block's norms are part of the linears that read
// them. *relative_error is what is left out, |difference - LoRA| / |difference|
// over all weights. The same bytes each time.
int adapter_to_lora(struct adapter **out, double *relative_error,
                    const struct adapter *a, const struct model_config *m,
                    const struct gguf *base, unsigned rank, struct error *err);
