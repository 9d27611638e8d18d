// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/handlers.h"
#include "daemon/pockd.h"
#include "daemon/serving.h"

void handle_gen_start(struct pockd *p, struct request *r)
{
    serving_generate(p->serving, r);
}

void handle_score(struct pockd *p, struct request *r)
{
    serving_score(p->serving, r);
}
