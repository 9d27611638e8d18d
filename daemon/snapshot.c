// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/snapshot.h"

#include <math.h>

void snapshot_init(struct snapshot *s)
{
    *s = (struct snapshot){
        .battery_pct = NAN,
        .battery_temp_c = NAN,
        .battery_wh = NAN,
        .battery_full_wh = NAN,
        .energy_rate_w = NAN,
        .drain_pct = NAN,
        .thermal_level = -1,
        .thermal_c = NAN,
        .session_count = -1,
        .session_idle_count = -1,
        .use_source = "none",
        .psi_cpu_some = NAN,
        .psi_io_some = NAN,
        .psi_mem_some = NAN,
        .psi_mem_full = NAN,
        .memory_available_bytes = -1,
        .memory_total_bytes = -1,
        .disk_free_bytes = -1,
        .disk_total_bytes = -1,
        .gpu_busy_pct = -1,
        .gpu_others_pct = -1,
    };
}
