/* The load generator: thousands of watchers in one thread, each no more than a socket and a mark to look for.
 *
 *   crowd PORT socket|stream COUNT DEAF FIRST
 *
 * COUNT watchers, of which the last DEAF never read; FIRST is the number of the first, which decides its
 * source address. Commands come on stdin, a line each, bytes as hex ("-": none):
 *
 *   load FILE                      for each watcher two 32-bit sizes, its request, its frames (after the 101)
 *   open MARK NEED ELSE FLIGHT     open all, FLIGHT at a time, until each has MARK; no MARK: a 101 or 200
 *   expect MARK NEED ELSE TELL HOLD
 *                                  say so; read nothing for HOLD ms; wait until TELL watchers have MARK
 *   drop                           close all
 *   lost                           only report
 *
 * MARK is followed by a number and another byte; a watcher has it when it saw NEED different numbers. Those
 * that saw ELSE are counted as well. Each command is answered by a line of JSON; times are of CLOCK_MONOTONIC.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PER_ADDRESS 9000     /* below Restive's max_connections, and the ports of one address */
#define PATIENCE 30.0        /* seconds without news after which a command gives up */
#define TAIL 128             /* bytes kept of what came, since a mark may be cut */
#define TEXT 256
#define ROOM 65536
#define INPUT UINT32_MAX

enum { CLOSED, CONNECTING, HEAD, OPEN };
enum { FRAME_CLOSE = 8, FRAME_PING = 9, FRAME_PONG = 10 };

struct watcher {
    int fd;
    unsigned char state, other, header_size, opcode, ping_size, tail_size;
    unsigned char header[10], ping[125];
    char tail[TAIL];
    uint64_t seen, left;               /* numbers that came with the mark; bytes left of a frame */
    const char *request, *frames;
    uint32_t request_size, frames_size;
};
struct bytes { size_t size; char data[TEXT]; };

static struct watcher *watchers;
static double *arrived;                /* when each was told, in that order */
static uint32_t count, deaf, first_number, told, ready_deaf, refused, lost, lost_deaf, other, need, wanted;
static uint64_t received;
static struct bytes mark, otherwise;
static char *records, room[TAIL + ROOM];
static int loop, sockets, port;
static double latest;                  /* when somebody was told, or connected */

static double clock_of(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static double now(void) { return clock_of(CLOCK_MONOTONIC); }

static void die(const char *why)
{
    fprintf(stderr, "crowd: %s: %s\n", why, strerror(errno));
    exit(1);
}

static void listen_for(int fd, uint32_t who, uint32_t events, int operation)
{
    struct epoll_event event = {.events = events, .data.u32 = who};
    if (epoll_ctl(loop, operation, fd, &event)) die("epoll_ctl");
}

static int is_deaf(const struct watcher *w) { return w - watchers >= count - deaf; }

/* ---- what a watcher sends ---- */

static void say(struct watcher *w, const void *data, size_t size)
{
    ssize_t sent = size ? send(w->fd, data, size, MSG_NOSIGNAL) : 0;
    if (sent < (ssize_t)size && errno != EPIPE && errno != ECONNRESET)
        die("a watcher's send was cut");
}

static void answer_ping(struct watcher *w)
{
    unsigned char frame[6 + 125] = {0x80 | FRAME_PONG, 0x80 | w->ping_size};    /* a mask of zeros */
    memcpy(frame + 6, w->ping, w->ping_size);
    say(w, frame, 6 + w->ping_size);
}

static void begin_watcher(uint32_t number)
{
    struct watcher *w = watchers + number;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)}, from = {.sin_family = AF_INET};
    int yes = 1, least = 2048, ethernet = 1460;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (first_number + number) / PER_ADDRESS);
    if ((w->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) < 0) die("socket");
    setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(w->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (is_deaf(w)) {      /* the segments of loopback would let the server's kernel take 2.5 MB for each */
        setsockopt(w->fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
        setsockopt(w->fd, IPPROTO_TCP, TCP_MAXSEG, &ethernet, sizeof ethernet);
    }
    if (bind(w->fd, (void *)&from, sizeof from)) die("bind");
    if (connect(w->fd, (void *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
    w->state = CONNECTING;
    w->tail_size = w->header_size = 0;
    w->left = 0;
    listen_for(w->fd, number, EPOLLOUT, EPOLL_CTL_ADD);
}

static void stop_reading(struct watcher *w)
{
    ready_deaf++;
    w->state = OPEN;
    listen_for(w->fd, w - watchers, EPOLLRDHUP, EPOLL_CTL_MOD);
}

static void connected(struct watcher *w)
{
    w->state = HEAD;
    latest = now();
    say(w, w->request, w->request_size);
    if (is_deaf(w) && !sockets) stop_reading(w);
    else listen_for(w->fd, w - watchers, EPOLLIN, EPOLL_CTL_MOD);
}

/* ---- what a watcher hears ---- */

static void end(struct watcher *w)
{
    if (w->state != CLOSED) close(w->fd);
    w->state = CLOSED;
}

static void lose(struct watcher *w)
{
    end(w);
    if (is_deaf(w)) lost_deaf++; else lost++;
}

static void tell(void) { arrived[told++] = latest = now(); }

static void look_for_mark(struct watcher *w, char *at, char *stop)
{
    if (__builtin_popcountll(w->seen) >= (int)need) return;
    while ((at = memmem(at, stop - at, mark.data, mark.size))) {
        unsigned number = 0;
        for (at += mark.size; at < stop && isdigit(*at); at++) number = number * 10 + (*at - '0');
        if (at == stop) break;                      /* the number may be cut */
        w->seen |= 1ULL << number % 64;
    }
    if (__builtin_popcountll(w->seen) >= (int)need) tell();
}

/* Looks at what came, behind what is kept of the last piece, and keeps the end of it. */
static void look(struct watcher *w, char *data, char *stop)
{
    data -= w->tail_size;
    memcpy(data, w->tail, w->tail_size);
    if (mark.size) look_for_mark(w, data, stop);
    if (otherwise.size && !w->other && memmem(data, stop - data, otherwise.data, otherwise.size)) {
        w->other = 1;
        other++;
    }
    w->tail_size = stop - data < TAIL ? stop - data : TAIL;
    memcpy(w->tail, stop - w->tail_size, w->tail_size);
}

static void frame_begins(struct watcher *w)
{
    uint64_t size = w->header[1] & 127;
    unsigned more = size < 126 ? 0 : size == 126 ? 2 : 8;
    if (w->header_size < 2 + more) return;
    if (more) size = 0;
    for (unsigned i = 0; i < more; i++) size = size << 8 | w->header[2 + i];
    w->opcode = w->header[0] & 15;
    w->left = size;
    w->header_size = w->ping_size = 0;
    if (!size && w->opcode == FRAME_PING) answer_ping(w);
}

/* Follows the frames only to answer pings. */
static void follow_frames(struct watcher *w, const char *at, const char *stop)
{
    while (at < stop) {
        if (!w->left) {
            w->header[w->header_size++] = *at++;
            if (w->header_size >= 2) frame_begins(w);
            continue;
        }
        size_t size = w->left < (size_t)(stop - at) ? w->left : (size_t)(stop - at);
        if (w->opcode == FRAME_PING && w->ping_size + size <= sizeof w->ping) {
            memcpy(w->ping + w->ping_size, at, size);
            w->ping_size += size;
        }
        at += size;
        if (!(w->left -= size) && w->opcode == FRAME_PING) answer_ping(w);
    }
}

/* Returns where the body begins, NULL while the head is not whole. The status comes in the first piece. */
static char *read_head(struct watcher *w, char *data, char *stop)
{
    const char *status = sockets ? " 101 " : " 200 ";
    if (!w->tail_size && !memmem(data, stop - data < 16 ? stop - data : 16, status, 5)) {
        if (!refused++) fprintf(stderr, "crowd: a watcher was refused:\n%.*s\n", (int)(stop - data), data);
        end(w);
        return NULL;
    }
    char *start = data - w->tail_size, *over;
    memcpy(start, w->tail, w->tail_size);
    over = memmem(start, stop - start, "\r\n\r\n", 4);
    w->tail_size = over ? 0 : stop - start < TAIL ? stop - start : TAIL;
    memcpy(w->tail, stop - w->tail_size, w->tail_size);
    return over ? over + 4 : NULL;
}

static void hear(struct watcher *w)
{
    char *data = room + TAIL;
    ssize_t size = recv(w->fd, data, ROOM, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size <= 0) { lose(w); return; }
    char *stop = data + size;
    received += size;
    if (w->state == HEAD) {
        if (!(data = read_head(w, data, stop))) return;
        w->state = OPEN;
        say(w, w->frames, w->frames_size);
        if (is_deaf(w)) { stop_reading(w); return; }
        if (!mark.size) tell();
    }
    if (sockets) follow_frames(w, data, stop);
    look(w, data, stop);
}

/* ---- the loop ---- */

static void handle(uint32_t who, uint32_t events)
{
    struct watcher *w = watchers + who;
    if (w->state == CONNECTING && !(events & (EPOLLERR | EPOLLHUP))) connected(w);
    else if (w->state == OPEN && is_deaf(w)) lose(w);
    else if (w->state != CLOSED) hear(w);
}

/* Handles what happens; returns whether there is something on stdin. */
static int step(int milliseconds)
{
    static struct epoll_event found[512];
    int input = 0, n = epoll_wait(loop, found, 512, milliseconds);
    for (int i = 0; i < n; i++) {
        if (found[i].data.u32 == INPUT) input = 1;
        else handle(found[i].data.u32, found[i].events);
    }
    return input;
}

static void until(int (*done)(void), uint32_t flight)
{
    uint32_t next = flight ? 0 : count;
    latest = now();
    while (!done() && now() - latest < PATIENCE) {
        while (next < count && next - (told + ready_deaf + refused + lost) < flight) begin_watcher(next++);
        step(100);
    }
}

static int all_open(void) { return told + ready_deaf + refused + lost + lost_deaf >= count; }

static int all_told(void) { return told + lost + refused >= wanted; }

static double at(double share)
{
    uint32_t place = share * told;
    return told ? arrived[place < told ? place : told - 1] : 0;
}

static void report(double begin, double cpu)
{
    printf("{\"told\":%u,\"wanted\":%u,\"other\":%u,\"refused\":%u,\"lost\":%u,\"lost_deaf\":%u,", told,
           wanted, other, refused, lost, lost_deaf);
    printf("\"begin\":%.6f,\"first\":%.6f,\"half\":%.6f,\"p99\":%.6f,\"last\":%.6f,", begin, at(0), at(0.5),
           at(0.99), at(1));
    printf("\"cpu\":%.6f,\"bytes\":%lu}\n", clock_of(CLOCK_PROCESS_CPUTIME_ID) - cpu, received);
    fflush(stdout);
}

/* ---- commands ---- */

static int nibble(char digit) { return isdigit(digit) ? digit - '0' : (digit | 32) - 'a' + 10; }

static size_t unhex(const char *hex, char *to, size_t most)
{
    size_t size = 0;
    for (; *hex != '-' && hex[0] && hex[1] && size < most; hex += 2)
        to[size++] = nibble(hex[0]) << 4 | nibble(hex[1]);
    return size;
}

static struct bytes short_bytes(const char *hex)
{
    struct bytes found;
    found.size = unhex(hex, found.data, TEXT);
    return found;
}

static void expect(char **words)
{
    mark = short_bytes(words[0]);
    need = atoi(words[1]);
    otherwise = short_bytes(words[2]);
    told = other = 0;
    received = 0;
    for (uint32_t i = 0; i < count; i++) watchers[i].seen = watchers[i].other = 0;
}

static void command_load(const char *path)
{
    struct stat found;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &found)) die(path);
    free(records);
    records = malloc(found.st_size);
    if (!records || read(fd, records, found.st_size) != found.st_size) die(path);
    close(fd);
    const char *place = records;
    for (struct watcher *w = watchers; w < watchers + count; w++) {
        memcpy(&w->request_size, place, 4);
        memcpy(&w->frames_size, place + 4, 4);
        w->request = place + 8;
        w->frames = w->request + w->request_size;
        place = w->frames + w->frames_size;
    }
    printf("{}\n");
}

static void command_open(char **words)
{
    double cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID), begin = now();
    expect(words);
    wanted = count - deaf;
    ready_deaf = refused = lost = lost_deaf = 0;
    until(all_open, atoi(words[3]));
    report(begin, cpu);
}

static void command_expect(char **words)
{
    expect(words);
    wanted = atoi(words[3]);
    printf("{}\n");
    fflush(stdout);
    usleep(atoi(words[4]) * 1000);
    double cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID), begin = now();
    until(all_told, 0);
    report(begin, cpu);
}

static void command(char *line)
{
    char *words[8] = {0}, *rest = line;
    for (int i = 0; i < 8 && (words[i] = strsep(&rest, " ")); i++) { }
    if (!strcmp(line, "load")) command_load(words[1]);
    else if (!strcmp(line, "open")) command_open(words + 1);
    else if (!strcmp(line, "expect")) command_expect(words + 1);
    else if (!strcmp(line, "lost")) report(now(), clock_of(CLOCK_PROCESS_CPUTIME_ID));
    else if (!strcmp(line, "drop")) {
        for (uint32_t i = 0; i < count; i++) end(watchers + i);
        printf("{}\n");
    }
    fflush(stdout);
}

/* Does the command on stdin: whoever gives one waits for its answer. */
static void read_command(void)
{
    char line[4 * TEXT];
    ssize_t size = read(0, line, sizeof line - 1);
    if (size <= 0) exit(0);
    line[size] = 0;
    line[strcspn(line, "\n")] = 0;
    command(line);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    if (argc != 6) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    port = atoi(argv[1]);
    sockets = !strcmp(argv[2], "socket");
    count = atoi(argv[3]);
    deaf = atoi(argv[4]);
    first_number = atoi(argv[5]);
    watchers = calloc(count, sizeof *watchers);
    arrived = calloc(count, sizeof *arrived);
    if (!watchers || !arrived || (loop = epoll_create1(0)) < 0) die("start");
    listen_for(0, INPUT, EPOLLIN, EPOLL_CTL_ADD);
    for (;;) if (step(-1)) read_command();
}
