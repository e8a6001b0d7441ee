/* A stand-in for libnvidia-ml.so.1: one H200 whose state is a file of lines, read anew at each question.
 *   lost            every question about it is answered with NVML_ERROR_GPU_IS_LOST
 *   used MIB        memory in use
 *   slowed BITS     reasons for slower clocks
 *   process PID MIB somebody computes there
 *   mig             what a part of a GPU does not tell is NVML_ERROR_NOT_SUPPORTED
 * What would change a GPU is not here: to call it fails.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, NOT_LOADED = 9, LOST = 15 };
typedef struct { unsigned pid; unsigned long long used; unsigned gpu, compute; } process_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_t;

static process_t processes[16];
static unsigned count;
static unsigned long long used, slowed;
static int lost, mig;

static int look(void) {
    FILE *file = fopen(getenv("NVML_STATE"), "r");
    char line[256];
    unsigned long long mib;
    unsigned pid;
    count = lost = mig = 0;
    used = slowed = 0;
    if (!file)
        return NOT_LOADED;
    while (fgets(line, sizeof line, file)) {
        if (!strncmp(line, "lost", 4)) lost = 1;
        if (!strncmp(line, "mig", 3)) mig = 1;
        if (sscanf(line, "used %llu", &mib) == 1) used = mib << 20;
        sscanf(line, "slowed %llu", &slowed);
        if (sscanf(line, "process %u %llu", &pid, &mib) == 2 && count < 16)
            processes[count++] = (process_t){pid, mib << 20, 0, 0};
    }
    fclose(file);
    return lost ? LOST : OK;
}

int nvmlInitWithFlags(unsigned flags) { int found = look(); return found == LOST ? OK : found; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int error) { return error == LOST ? "GPU is lost" : "stub"; }
int nvmlDeviceGetCount_v2(unsigned *found) { *found = 1; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = &count; return index ? NOT_FOUND : OK; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    *device = &count;
    return strncmp(uuid, "MIG-", 4) ? NOT_FOUND : OK;
}
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned size) { snprintf(uuid, size, "GPU-aa11"); return OK; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *size, process_t *found) {
    int state = look();
    unsigned room = *size;
    if (state) return state;
    *size = count;
    if (room < count) return TOO_SMALL;
    if (count) memcpy(found, processes, count * sizeof *processes);
    return OK;
}
int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *reasons) {
    int state = look();
    *reasons = slowed;
    return state ? state : mig ? NOT_SUPPORTED : OK;
}
int nvmlDeviceGetMemoryInfo_v2(void *device, memory_t *memory) {
    int state = look();
    memory->total = 143771ull << 20;
    memory->used = used;
    return state;
}
