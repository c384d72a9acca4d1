/* The floor of a push: a bare loop of send(2), one call for each watcher, and nothing else.
 *
 *   floor --port PORT
 *
 * GET /ready answers 200 and closes; GET /took tells how many microseconds the last loop took. Any other GET
 * becomes a watcher. A PUT is answered, and each line of its body is an event for every watcher; all of them
 * go in one call. It reads each request in one piece: it is no server.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 200000
#define ROOM 65536

static int watchers[MOST], count;
static long took;

static long microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void answer(int fd, const char *text) { if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0) close(fd); }

static void push(char *body)
{
    static char message[2 * ROOM];
    int size = 0;
    for (char *line; (line = strsep(&body, "\n"));)
        size += snprintf(message + size, sizeof message - size, "data: %s\n\n", line);
    long begin = microseconds();
    for (int i = 0; i < count; i++)
        if (send(watchers[i], message, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) { }
    took = microseconds() - begin;
}

static void forget(int fd)
{
    for (int i = 0; i < count; i++)
        if (watchers[i] == fd) { watchers[i] = watchers[--count]; break; }
    close(fd);
}

static void serve(int fd)
{
    static char request[ROOM];
    char text[128];
    ssize_t size = recv(fd, request, sizeof request - 1, 0);
    if (size <= 0) { forget(fd); return; }
    request[size] = 0;
    char *body = strstr(request, "\r\n\r\n");
    if (!strncmp(request, "GET /ready", 10)) {
        answer(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        close(fd);
    } else if (!strncmp(request, "GET /took", 9)) {
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%ld", took);
        answer(fd, text);
        close(fd);
    } else if (!strncmp(request, "GET", 3) && count < MOST) {
        watchers[count++] = fd;
        answer(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    } else if (body) {
        answer(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        push(body + 4);
    }
}

int main(int argc, char **argv)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[argc - 1]))};
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1, poll = epoll_create1(0);
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) return 1;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, found[256];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(poll, found, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = found[i].data.fd;
            if (fd != listener) { serve(fd); continue; }
            event.data.fd = accept(listener, 0, 0);
            event.events = EPOLLIN;
            if (event.data.fd >= 0) epoll_ctl(poll, EPOLL_CTL_ADD, event.data.fd, &event);
        }
    }
}
