/* The C client: calls on open files, the time of each call.
 *
 * usage: client PATH BYTES CLIENTS SECONDS MIN_CALLS INTERVAL_US (echo|affine)
 *
 * Each of CLIENTS threads opens PATH and repeats: write BYTES of floats x, read as many back, which
 * have to be x (echo) or 2 x + 1 (affine).  It calls for SECONDS, but MIN_CALLS times at least.
 * INTERVAL_US 0 calls without a pause; otherwise a call begins at each tick, or at the next one
 * where the last call took longer.
 *
 * The harness reads the counters of this process while all threads exist and none calls:
 *   prints "ready"; waits for a line; calls; prints "done"; waits for a line;
 *   prints int64: the CLOCK_MONOTONIC times in ns at which the calls began and ended, the number of
 *   calls, and the latency of each in ns.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const int64_t SECOND_NS = 1000000000;

static struct {
    const char *path;
    size_t bytes;
    int clients, echoes;
    int64_t duration_ns, interval_ns;
    size_t min_calls;
    char *request, *expected;
    pthread_barrier_t line; /* all threads and main */
} job;

struct client {
    pthread_t thread;
    int fd;
    char *reply;
    int64_t *latencies_ns;
    size_t calls, capacity;
};

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "wrong reply");
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND_NS + time.tv_nsec;
}

static void sleep_until(int64_t tick_ns)
{
    struct timespec time = {tick_ns / SECOND_NS, tick_ns % SECOND_NS};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR)
        ;
}

static void call(struct client *client)
{
    for (size_t sent = 0; sent < job.bytes;) {
        ssize_t count = write(client->fd, job.request + sent, job.bytes - sent);
        if (count < 0)
            fail("write");
        sent += count;
    }
    for (size_t got = 0; got < job.bytes;) {
        ssize_t count = read(client->fd, client->reply + got, job.bytes - got);
        if (count <= 0)
            fail("read");
        got += count;
    }
}

static void check(const struct client *client)
{
    errno = 0;
    if (memcmp(client->reply, job.expected, job.bytes) != 0)
        fail(job.path);
}

static void record(struct client *client, int64_t latency_ns)
{
    if (client->calls == client->capacity) {
        client->capacity *= 2;
        client->latencies_ns =
            realloc(client->latencies_ns, client->capacity * sizeof *client->latencies_ns);
        if (client->latencies_ns == NULL)
            fail("realloc");
    }
    client->latencies_ns[client->calls++] = latency_ns;
}

static void timed_calls(struct client *client)
{
    int64_t tick = now_ns(), until = tick + job.duration_ns, after;
    do {
        if (job.interval_ns) {
            do
                tick += job.interval_ns;
            while (tick < now_ns());
            sleep_until(tick);
        }
        int64_t before = now_ns();
        call(client);
        after = now_ns();
        record(client, after - before);
    } while (after < until || client->calls < job.min_calls);
}

/* The barriers: all are warm; begin; all have ended; end. */
static void *run(void *argument)
{
    struct client *client = argument;
    call(client);
    check(client);
    pthread_barrier_wait(&job.line);
    pthread_barrier_wait(&job.line);
    timed_calls(client);
    pthread_barrier_wait(&job.line);
    pthread_barrier_wait(&job.line);
    return NULL;
}

static void open_client(struct client *client)
{
    client->fd = open(job.path, O_RDWR | O_CLOEXEC);
    if (client->fd < 0)
        fail(job.path);
    client->capacity = 1 << 16;
    client->reply = malloc(job.bytes);
    client->latencies_ns = malloc(client->capacity * sizeof *client->latencies_ns);
    if (client->reply == NULL || client->latencies_ns == NULL)
        fail("malloc");
    memset(client->latencies_ns, 0, client->capacity * sizeof *client->latencies_ns);
}

static void make_messages(void)
{
    job.request = malloc(job.bytes);
    job.expected = malloc(job.bytes);
    if (job.request == NULL || job.expected == NULL)
        fail("malloc");
    for (size_t index = 0; index < job.bytes / sizeof(float); index++) {
        float x = (float)(index % 251), y = job.echoes ? x : 2 * x + 1;
        memcpy(job.request + index * sizeof x, &x, sizeof x);
        memcpy(job.expected + index * sizeof y, &y, sizeof y);
    }
}

static void report(const char *state)
{
    char line[16];
    puts(state);
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL)
        exit(1); /* the harness has ended */
}

static void print_latencies(const struct client *clients, int64_t began_ns, int64_t ended_ns)
{
    int64_t head[3] = {began_ns, ended_ns, 0};
    for (int index = 0; index < job.clients; index++)
        head[2] += clients[index].calls;
    fwrite(head, sizeof head, 1, stdout);
    for (int index = 0; index < job.clients; index++)
        fwrite(clients[index].latencies_ns, sizeof(int64_t), clients[index].calls, stdout);
    if (fflush(stdout) != 0)
        fail("stdout");
}

static void measure(struct client *clients)
{
    pthread_barrier_init(&job.line, NULL, job.clients + 1);
    for (int index = 0; index < job.clients; index++) {
        open_client(&clients[index]);
        if (pthread_create(&clients[index].thread, NULL, run, &clients[index]) != 0)
            fail("pthread_create");
    }
    pthread_barrier_wait(&job.line);
    report("ready");
    int64_t began_ns = now_ns();
    pthread_barrier_wait(&job.line);
    pthread_barrier_wait(&job.line);
    int64_t ended_ns = now_ns();
    report("done");
    pthread_barrier_wait(&job.line);
    for (int index = 0; index < job.clients; index++) {
        pthread_join(clients[index].thread, NULL);
        check(&clients[index]);
    }
    print_latencies(clients, began_ns, ended_ns);
}

int main(int count, char **words)
{
    if (count != 8) {
        fprintf(stderr, "usage: %s PATH BYTES CLIENTS SECONDS MIN_CALLS INTERVAL_US "
                        "(echo|affine)\n", words[0]);
        return 2;
    }
    job.path = words[1];
    job.bytes = strtoul(words[2], NULL, 10);
    job.clients = atoi(words[3]);
    job.duration_ns = (int64_t)(atof(words[4]) * SECOND_NS);
    job.min_calls = strtoul(words[5], NULL, 10);
    job.interval_ns = atol(words[6]) * 1000;
    job.echoes = strcmp(words[7], "echo") == 0;
    make_messages();
    struct client *clients = calloc(job.clients, sizeof *clients);
    if (clients == NULL)
        fail("calloc");
    measure(clients);
    return 0;
}
