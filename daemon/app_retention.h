// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Retention of apps (loop thread)
 *
 * Records of apps that the owner granted for so many days only are erased when
 * those have passed since they were put, with the versions that learned from
 * them, as data.erase does it.
 */

struct pockd;

// Looks once; erases where something is due. Training is stopped only then.
void app_retention_look(struct pockd *p);
