/* A program's conversation from plain C: no library, no Python, no CUDA on this side.
 *
 *     client CALL_RAW IMAGES_NPY LABELS    classify each image, print how many are right
 *     client -n 10000 CALL_RAW IN OUT      time N calls of IN bytes that answer OUT bytes
 *
 * CALL_RAW is programs/<program>/call.raw of a mount: raw little-endian inputs in, outputs out.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PIXELS = 64, CLASSES = 10 };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void fail(const char *name, const char *what)
{
    fprintf(stderr, "%s: %s\n", name, what);
    exit(1);
}

/* One request and its whole reply. */
static void call(int fd, const void *in, size_t in_bytes, void *out, size_t out_bytes)
{
    if (write(fd, in, in_bytes) != (ssize_t)in_bytes)
        die("write");
    for (size_t got = 0; got < out_bytes;) {
        ssize_t n = read(fd, (char *)out + got, out_bytes - got);
        if (n < 0)
            die("read");
        if (n == 0)
            fail("read", "the reply is shorter than expected");
        got += (size_t)n;
    }
}

/* Leaves the file at the first element of a .npy of version 1, whose header names its own length. */
static int skip_npy_header(FILE *file)
{
    unsigned char head[10];
    if (fread(head, sizeof head, 1, file) != 1 || memcmp(head, "\x93NUMPY\1", 7))
        return -1;
    return fseek(file, head[8] | head[9] << 8, SEEK_CUR);
}

static int best(const float *scores)
{
    int found = 0;
    for (int i = 1; i < CLASSES; i++)
        if (scores[i] > scores[found])
            found = i;
    return found;
}

static int classify(const char *path, const char *images_path, const char *labels_path)
{
    int fd = open(path, O_RDWR);
    FILE *images = fopen(images_path, "rb"), *labels = fopen(labels_path, "r");
    float image[PIXELS], scores[CLASSES];
    int label, right = 0, all = 0;

    if (fd < 0)
        die(path);
    if (!images || !labels)
        die("images and labels");
    if (skip_npy_header(images))
        fail(images_path, "not a .npy file of version 1");
    while (fscanf(labels, "%d", &label) == 1) {
        if (fread(image, sizeof image, 1, images) != 1)
            fail(images_path, "fewer images than labels");
        call(fd, image, sizeof image, scores, sizeof scores);
        int seen = best(scores);
        printf("%d ", seen);
        right += seen == label;
        all++;
    }
    if (!all)
        fail(labels_path, "no labels");
    putchar('\n');
    printf("%d of %d digits right\n", right, all);
    fclose(labels);
    fclose(images);
    return close(fd);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec * 1e-3;
}

static int measure(long count, const char *path, size_t in_bytes, size_t out_bytes)
{
    int fd = open(path, O_RDWR);
    double *took = calloc((size_t)count, sizeof *took);
    void *in = calloc(1, in_bytes), *out = malloc(out_bytes);

    if (fd < 0)
        die(path);
    if (!took || !in || !out)
        die("memory");
    for (long i = 0; i < count; i++) {
        double began = now_us();
        call(fd, in, in_bytes, out, out_bytes);
        took[i] = now_us() - began;
    }
    qsort(took, (size_t)count, sizeof *took, by_value);
    printf("%ld calls: p50 %.1f us, p99 %.1f us\n", count, took[count / 2], took[count * 99 / 100]);
    free(out);
    free(in);
    free(took);
    return close(fd);
}

int main(int argc, char **argv)
{
    if (argc == 6 && !strcmp(argv[1], "-n") && atol(argv[2]) > 0)
        return measure(atol(argv[2]), argv[3], strtoul(argv[4], 0, 10), strtoul(argv[5], 0, 10));
    if (argc == 4)
        return classify(argv[1], argv[2], argv[3]);
    fprintf(stderr, "usage: %s CALL_RAW IMAGES_NPY LABELS | -n N CALL_RAW IN_BYTES OUT_BYTES\n", argv[0]);
    return 2;
}
