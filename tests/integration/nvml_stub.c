/* A stand-in for NVIDIA's libnvidia-ml.so.1, for machines without a GPU.
 *
 * It answers what the file named by NVML_STUB says, a line "key value" each, read anew at every call:
 *   count 2          GPUs of the machine          init 18        what initialising answers (an NVML error number)
 *   0.name H200      of GPU 0                     0.handle 4     what asking for its handle answers
 *   0.lost 15        every question to it answers this from now on
 *   0.compute 4711:1000 4712:unknown              processes and their bytes; 0.graphics likewise
 *   0.mig 1, 0.instances 7                        MIG is on, with places for 7; 0.2.uuid MIG-... is the third
 * A key that is missing means "not supported". With NVML_STUB_LOG it notes each initialising and shutting down.
 * As with the real one, what a process opened is of no use to a child that it forks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

typedef struct { unsigned int pid; unsigned long long used; unsigned int gpu_instance, compute_instance; } Process;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int gpu, memory; } Utilization;

static int references = 0;
static pid_t owner = 0;

static void note(const char *what) {
    const char *path = getenv("NVML_STUB_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    fprintf(file, "%s %d\n", what, (int)getpid());
    fclose(file);
}

static int find(const char *key, char *value, size_t size) {
    const char *path = getenv("NVML_STUB");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[1024];
    size_t length = strlen(key);
    int found = 0;
    while (file && !found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            snprintf(value, size, "%s", line + length + 1);
            found = 1;
        }
    }
    if (file) fclose(file);
    return found;
}

/* A handle is 1000 for GPU 0 and 1000 more for each further one; an instance adds its place and 1. */
static int ask(void *device, const char *name, char *value, size_t size) {
    long handle = (long)device, gpu = handle / 1000 - 1, instance = handle % 1000 - 1;
    char key[64], answer[64];
    if (references == 0 || owner != getpid()) return UNINITIALIZED;
    if (gpu < 0) return INVALID_ARGUMENT;
    snprintf(key, sizeof key, "%ld.lost", gpu);
    if (find(key, answer, sizeof answer)) return atoi(answer);
    if (instance >= 0) snprintf(key, sizeof key, "%ld.%ld.%s", gpu, instance, name);
    else snprintf(key, sizeof key, "%ld.%s", gpu, name);
    return find(key, value, size) ? SUCCESS : NOT_SUPPORTED;
}

static int ask_number(void *device, const char *name, unsigned int *number) {
    char value[64];
    int answer = ask(device, name, value, sizeof value);
    if (answer == SUCCESS) *number = (unsigned int)strtoul(value, NULL, 10);
    return answer;
}

int nvmlInitWithFlags(unsigned int flags) {
    char value[64];
    (void)flags;
    if (find("init", value, sizeof value)) return atoi(value);
    if (references++ == 0) owner = getpid();
    note("init");
    return SUCCESS;
}

int nvmlShutdown(void) {
    if (references == 0) return UNINITIALIZED;
    references--;
    note("shutdown");
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
    char value[64];
    if (references == 0 || owner != getpid()) return UNINITIALIZED;
    *count = find("count", value, sizeof value) ? (unsigned int)atoi(value) : 0;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    char key[64], value[64];
    snprintf(key, sizeof key, "%u.handle", index);
    if (find(key, value, sizeof value)) return atoi(value);
    *device = (void *)(1000L * (index + 1));
    return SUCCESS;
}

int nvmlDeviceGetName(void *device, char *name, unsigned int size) { return ask(device, "name", name, size); }
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int size) { return ask(device, "uuid", uuid, size); }
int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) { return ask_number(device, "power", milliwatts); }
int nvmlDeviceGetGpuInstanceId(void *device, unsigned int *id) { return ask_number(device, "gi", id); }
int nvmlDeviceGetComputeInstanceId(void *device, unsigned int *id) { return ask_number(device, "ci", id); }
int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned int *n) { return ask_number(device, "instances", n); }

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius) {
    return sensor == 0 ? ask_number(device, "temperature", celsius) : INVALID_ARGUMENT;
}

int nvmlDeviceGetUtilizationRates(void *device, Utilization *rates) {
    rates->memory = 0;
    return ask_number(device, "utilization", &rates->gpu);
}

int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    char value[128];
    int answer = ask(device, "memory", value, sizeof value);
    if (answer == SUCCESS) sscanf(value, "%llu %llu", &memory->total, &memory->used);
    return answer;
}

int nvmlDeviceGetMigMode(void *device, unsigned int *current, unsigned int *pending) {
    int answer = ask_number(device, "mig", current);
    *pending = *current;
    return answer;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned int place, void **instance) {
    char value[128];
    *instance = (void *)((long)device + place + 1);
    return ask(*instance, "uuid", value, sizeof value) == SUCCESS ? SUCCESS : NOT_FOUND;
}

static int list(void *device, const char *kind, unsigned int *count, Process *processes) {
    char value[1024], *rest = value, *word;
    unsigned int n = 0, room = *count;
    int answer = ask(device, kind, value, sizeof value);
    if (answer != SUCCESS) return answer;
    while ((word = strsep(&rest, " ")) != NULL) {
        char *bytes = strchr(word, ':');
        if (!bytes) continue;
        if (processes && n < room) {
            Process one = {(unsigned int)strtoul(word, NULL, 10), strtoull(bytes + 1, NULL, 10), ~0u, ~0u};
            if (strcmp(bytes + 1, "unknown") == 0) one.used = ~0ull;
            processes[n] = one;
        }
        n++;
    }
    *count = n;
    return n > room ? INSUFFICIENT_SIZE : SUCCESS;
}

#ifdef OLD_DRIVER
#define LISTING(kind) nvmlDeviceGet##kind##RunningProcesses_v2
#else
#define LISTING(kind) nvmlDeviceGet##kind##RunningProcesses_v3
#endif
int LISTING(Compute)(void *d, unsigned int *count, Process *found) { return list(d, "compute", count, found); }
int LISTING(Graphics)(void *d, unsigned int *count, Process *found) { return list(d, "graphics", count, found); }
