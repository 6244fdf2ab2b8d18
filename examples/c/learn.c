/* A training loop in plain C: open, write, close and rename; no JAX, no Python on this side.
 *
 *     learn MOUNT STEPS     the same as ../learn.sh, with the programs in ../learn
 *
 * The caller has copied learn/{init,step,accuracy}.mlir to MOUNT/programs, and
 * learn/{train,test}.safetensors to MOUNT/arrays/{train,test}.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Closing the file submits the call, so close returns the error of a bad one. */
static void submit(const char *calls, const char *request)
{
    int fd = open(calls, O_WRONLY | O_CREAT, 0644);
    if (fd < 0)
        die(calls);
    if (write(fd, request, strlen(request)) < 0 || close(fd))
        die(calls);
}

static void name(const char *result, const char *array)
{
    if (rename(result, array))
        die(result);
}

/* A number as text; waits until it is there. */
static double number(const char *path)
{
    char text[64] = "";
    int fd = open(path, O_RDONLY);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        die(path);
    close(fd);
    return strtod(text, NULL);
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
    if (argc != 3 || atoi(argv[2]) < 1) {
        fprintf(stderr, "usage: %s MOUNT STEPS\n", argv[0]);
        return 2;
    }
    int steps = atoi(argv[2]);
    if (chdir(argv[1]))
        die(argv[1]);

    submit("programs/init/calls/c_params", "1\n");
    name("results/c_params", "arrays/c_params");
    double before = now_us();
    for (int i = 0; i < steps; i++) {
        submit("programs/step/calls/c_step",
               "arrays/c_params arrays/train.images arrays/train.labels\n");
        name("results/c_step.result.0", "arrays/c_params"); /* a pytree of four arrays */
        if (unlink("results/c_step"))
            die("results/c_step");
    }
    double looped = now_us();
    submit("programs/accuracy/calls/c_right",
           "arrays/c_params arrays/test.images arrays/test.labels\n");
    double right = number("results/c_right.txt");
    double done = now_us();

    printf("%d steps: %.0f us a step to ask for, %.0f us until all was computed\n", steps,
           (looped - before) / steps, (done - before) / steps);
    printf("%.1f %% of the held-out digits right\n", 100 * right);
    if (unlink("arrays/c_params") || unlink("results/c_right"))
        die("unlink");
    return 0;
}
