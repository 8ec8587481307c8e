/*
 * Runs a program and makes one of its system calls fail, or kills it just before that call.
 *
 *     inject ROOT PROGRAM ARGUMENT...
 *
 * Calls are counted over all threads of the program, and only those that touch a file at or below ROOT. Commands come
 * line by line on standard input, and each is answered by a line on standard error:
 *
 *     arm N ERRNO STICKY   count from one again; the Nth call fails with ERRNO (0: SIGKILL, -1: nothing happens), and
 *                          with STICKY = 1 all calls after it too
 *     count                how many there were since, how many of them failed, and which one was the first of those
 *     trace FOLDER         note the calls that change something, once they are done, in FOLDER/calls, and what files hold
 *                          when they are synced or named in numbered files beside it; `trace -`: no more
 *
 * A seccomp filter stops the program at the calls of interest alone, so that all others run at full speed; the filter
 * belongs to the program, and the tracer has to be its parent, which needs no privileges.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#if !defined(__x86_64__) || !defined(__linux__)
#error "the registers of this machine are not known here"
#endif

/* A call, and which of its arguments are a directory or file and a path; -1: none. */
static const struct call {
    const char *name;
    long number;
    int file, path, other_file, other_path;
} calls[] = {
    {"openat", SYS_openat, 0, 1, -1, -1},
    {"openat2", SYS_openat2, 0, 1, -1, -1},
    {"statx", SYS_statx, 0, 1, -1, -1},
    {"newfstatat", SYS_newfstatat, 0, 1, -1, -1},
    {"fstat", SYS_fstat, 0, -1, -1, -1},
    {"getdents64", SYS_getdents64, 0, -1, -1, -1},
    {"read", SYS_read, 0, -1, -1, -1},
    {"pread64", SYS_pread64, 0, -1, -1, -1},
    {"write", SYS_write, 0, -1, -1, -1},
    {"pwrite64", SYS_pwrite64, 0, -1, -1, -1},
    {"writev", SYS_writev, 0, -1, -1, -1},
    {"fsync", SYS_fsync, 0, -1, -1, -1},
    {"fdatasync", SYS_fdatasync, 0, -1, -1, -1},
    {"ftruncate", SYS_ftruncate, 0, -1, -1, -1},
    {"utimensat", SYS_utimensat, 0, 1, -1, -1},
    {"mkdir", SYS_mkdir, -1, 0, -1, -1},
    {"mkdirat", SYS_mkdirat, 0, 1, -1, -1},
    {"unlink", SYS_unlink, -1, 0, -1, -1},
    {"unlinkat", SYS_unlinkat, 0, 1, -1, -1},
    {"rename", SYS_rename, -1, 0, -1, 1},
    {"renameat", SYS_renameat, 0, 1, 2, 3},
    {"renameat2", SYS_renameat2, 0, 1, 2, 3},
    {"linkat", SYS_linkat, 0, 1, 2, 3},
};
enum { CALLS = sizeof calls / sizeof *calls };

static const char *root;
static pid_t program;

static atomic_long counted, failed, wanted;
static atomic_int fault = -1, sticky;
static pthread_mutex_t first_lock = PTHREAD_MUTEX_INITIALIZER;
static char first[256];

/* The folder of a trace, and what is written there. */
static pthread_mutex_t trace_lock = PTHREAD_MUTEX_INITIALIZER;
static char trace[1024];
static FILE *noted;

/* Calls that are noted, once they are done: the threads that are in them. */
static struct pending {
    pid_t thread;
    const struct call *call;
    char path[2048], other[2048];
    unsigned long flags;
} pending[64];

static void fatal(const char *what) {
    perror(what);
    exit(125);
}

/* Stops the program at the calls of interest. */
static void filter(void) {
    struct sock_filter code[CALLS + 5];
    int n = 0;
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, CALLS + 1);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < CALLS; i++)
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, CALLS - i, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    struct sock_fprog filter = {.len = n, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
        fatal("seccomp");
}

static int below_root(const char *path) { return strncmp(path, root, strlen(root)) == 0; }

static int file_below_root(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/%d/fd/%d", program, file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return below_root(path);
}

static void read_path(pid_t thread, unsigned long from, char *path, size_t size) {
    size_t had = 0;
    path[0] = 0;
    while (from && had < size - 1) {
        /* Page by page: behind the last one there may be nothing. */
        size_t length = 4096 - ((from + had) & 4095), most = size - 1 - had;
        struct iovec ours = {path + had, length < most ? length : most}, theirs = {(void *)(from + had), ours.iov_len};
        ssize_t got = process_vm_readv(thread, &ours, 1, &theirs, 1, 0);
        if (got <= 0) break;
        path[had + (size_t)got] = 0;
        if (memchr(path + had, 0, (size_t)got)) return;
        had += (size_t)got;
    }
}

/* The path that a directory or file and a path below it are. */
static void whole_path(int file, const char *below, char *path, size_t size) {
    char link[64];
    if (below[0] == '/' || file == AT_FDCWD) {
        snprintf(path, size, "%s", below);
        return;
    }
    snprintf(link, sizeof link, "/proc/%d/fd/%d", program, file);
    ssize_t length = readlink(link, path, size - 1);
    length = length < 0 ? 0 : length;
    path[length] = 0;
    if (below[0]) snprintf(path + length, size - (size_t)length, "/%s", below);
}

static unsigned long inode(const char *path) {
    struct stat found;
    return lstat(path, &found) < 0 ? 0 : (unsigned long)found.st_ino;
}

static unsigned long inode_of_file(int file, long *size) {
    char link[64];
    struct stat found;
    snprintf(link, sizeof link, "/proc/%d/fd/%d", program, file);
    if (stat(link, &found) < 0) return 0;
    *size = S_ISDIR(found.st_mode) ? -1 : (long)found.st_size;
    return (unsigned long)found.st_ino;
}

/* Keeps what the regular file at a path holds now, and notes it: the inode, its size, and the number of the copy. */
static void keep(const char *path) {
    static unsigned long copies;
    struct stat found;
    char to[2048], bytes[1 << 16];
    int from = open(path, O_RDONLY | O_NONBLOCK);
    if (from < 0) return;
    if (fstat(from, &found) == 0 && S_ISREG(found.st_mode)) {
        snprintf(to, sizeof to, "%s/%lu", trace, ++copies);
        int copy = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        for (ssize_t got; copy >= 0 && (got = read(from, bytes, sizeof bytes)) > 0;)
            if (write(copy, bytes, (size_t)got) != got) fatal("keeping a file");
        close(copy);
        pthread_mutex_lock(&trace_lock);
        if (noted)
            fprintf(noted, "kept\t%lu\t%ld\t%lu\t\t0\t\t0\n", (unsigned long)found.st_ino, (long)found.st_size, copies);
        pthread_mutex_unlock(&trace_lock);
    }
    close(from);
}

/* Whether the thread is to stop once more, at the end of its call. */
static int note_begin(pid_t thread, const struct call *call, const unsigned long *arguments, const char *path,
                      const char *other) {
    static const char *const reading[] = {"statx", "newfstatat", "fstat", "getdents64", "read", "pread64"};
    for (size_t i = 0; i < sizeof reading / sizeof *reading; i++)
        if (!strcmp(call->name, reading[i])) return 0;
    struct pending *free = pending;
    while (free < pending + 64 && free->thread) free++;
    if (free == pending + 64) fatal("too many calls at once");
    *free = (struct pending){.thread = thread, .call = call};
    if (call->path < 0)
        snprintf(free->path, sizeof free->path, "/proc/%d/fd/%d", program, (int)arguments[call->file]);
    else
        whole_path(call->file < 0 ? AT_FDCWD : (int)arguments[call->file], path, free->path, sizeof free->path);
    if (call->other_path >= 0)
        whole_path(call->other_file < 0 ? AT_FDCWD : (int)arguments[call->other_file], other, free->other,
                   sizeof free->other);
    free->flags = !strcmp(call->name, "renameat2") ? arguments[4] : !strcmp(call->name, "openat") ? arguments[2] : 0;
    if (strstr(call->name, "sync") || strstr(call->name, "rename") || !strcmp(call->name, "linkat")) keep(free->path);
    return 1;
}

static unsigned long parent(const char *path, char *name, size_t size) {
    char folder[2048];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash) return 0;
    snprintf(name, size, "%s", slash + 1);
    *slash = 0;
    return inode(folder);
}

/* Notes a call that is done: its name, the inode of what it made or changed, its size (-1: a directory), the inodes of the
   directories and the names in them, and whether two names were exchanged. */
static void note_end(pid_t thread) {
    struct pending *done = pending;
    while (done < pending + 64 && done->thread != thread) done++;
    if (done == pending + 64) return;
    done->thread = 0;
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, thread, 0, &registers) < 0 || (long)registers.rax < 0) return;
    const char *what = done->call->name, *at = done->other[0] ? done->other : done->path;
    char name[512] = "", other[512] = "";
    unsigned long folder = 0, other_folder = 0, made;
    long size = -1;
    if (!strncmp(what, "openat", 6)) {
        made = inode_of_file((int)registers.rax, &size);
        folder = parent(done->path, name, sizeof name);
    } else if (done->call->path < 0) {
        struct stat found = {0};
        made = stat(done->path, &found) < 0 ? 0 : (unsigned long)found.st_ino;
        size = S_ISDIR(found.st_mode) ? -1 : (long)found.st_size;
    } else {
        struct stat found = {0};
        made = lstat(at, &found) < 0 ? 0 : (unsigned long)found.st_ino;
        size = S_ISDIR(found.st_mode) ? -1 : (long)found.st_size;
        folder = parent(done->path, name, sizeof name);
        if (done->other[0]) other_folder = parent(done->other, other, sizeof other);
    }
    pthread_mutex_lock(&trace_lock);
    if (noted) {
        fprintf(noted, "%s\t%lu\t%ld\t%lu\t%s\t%lu\t%s\t%lu\n", what, made, size, folder, name, other_folder, other,
                done->flags);
        fflush(noted);
    }
    pthread_mutex_unlock(&trace_lock);
}

static void set_trace(const char *folder) {
    pthread_mutex_lock(&trace_lock);
    if (noted) fclose(noted);
    noted = NULL;
    if (strcmp(folder, "-")) {
        char path[2048];
        snprintf(trace, sizeof trace, "%s", folder);
        snprintf(path, sizeof path, "%s/calls", folder);
        noted = fopen(path, "w");
    }
    pthread_mutex_unlock(&trace_lock);
}

/* A call of a thread begins. Whether the thread is to stop once more at its end. */
static int entered(pid_t thread) {
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, thread, 0, &registers) < 0) return 0;
    const struct call *call = calls;
    while (call < calls + CALLS && call->number != (long)registers.orig_rax) call++;
    if (call == calls + CALLS) return 0;
    unsigned long arguments[] = {registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8};
    char path[1024] = "", other[1024] = "";
    if (call->path >= 0) read_path(thread, arguments[call->path], path, sizeof path);
    if (call->other_path >= 0) read_path(thread, arguments[call->other_path], other, sizeof other);
    int touches = below_root(path) || below_root(other) ||
                  (call->file >= 0 && file_below_root((int)arguments[call->file])) ||
                  (call->other_file >= 0 && file_below_root((int)arguments[call->other_file]));
    if (!touches) return 0;
    if (noted) return note_begin(thread, call, arguments, path, other);
    long now = atomic_fetch_add(&counted, 1) + 1, at = atomic_load(&wanted);
    int error = atomic_load(&fault);
    if (error < 0 || !(now == at || (atomic_load(&sticky) && now > at))) return 0;
    if (atomic_fetch_add(&failed, 1) == 0) {
        pthread_mutex_lock(&first_lock);
        snprintf(first, sizeof first, "%s %.200s", call->name, path);
        pthread_mutex_unlock(&first_lock);
    }
    if (error == 0) {
        kill(program, SIGKILL);
        return 0;
    }
    /* No such call, and its result is as it is here. */
    registers.orig_rax = (unsigned long)-1;
    registers.rax = (unsigned long)-(long)error;
    ptrace(PTRACE_SETREGS, thread, 0, &registers);
    return 0;
}

static void *commands(void *unused) {
    char line[1100], folder[1024];
    while (fgets(line, sizeof line, stdin)) {
        long n;
        int error, stays;
        if (sscanf(line, "arm %ld %d %d", &n, &error, &stays) == 3) {
            atomic_store(&fault, -1);
            atomic_store(&counted, 0);
            atomic_store(&failed, 0);
            atomic_store(&wanted, n);
            atomic_store(&sticky, stays);
            pthread_mutex_lock(&first_lock);
            first[0] = 0;
            pthread_mutex_unlock(&first_lock);
            atomic_store(&fault, error);
            fprintf(stderr, "armed\n");
        } else if (!strcmp(line, "count\n")) {
            atomic_store(&fault, -1);
            pthread_mutex_lock(&first_lock);
            fprintf(stderr, "%ld %ld %s\n", atomic_load(&counted), atomic_load(&failed), first);
            pthread_mutex_unlock(&first_lock);
        } else if (sscanf(line, "trace %1023s", folder) == 1) {
            set_trace(folder);
            fprintf(stderr, "set\n");
        } else {
            fprintf(stderr, "what?\n");
        }
        fflush(stderr);
    }
    /* Whoever gives the commands is gone. */
    kill(program, SIGKILL);
    return unused;
}

int main(int count, char **arguments) {
    if (count < 3) {
        fprintf(stderr, "inject ROOT PROGRAM ARGUMENT...\n");
        return 125;
    }
    root = arguments[1];
    program = fork();
    if (program < 0) fatal("fork");
    if (program == 0) {
        int nothing = open("/dev/null", O_RDWR);
        dup2(nothing, 0);
        dup2(nothing, 2);
        close(nothing);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        raise(SIGSTOP);
        filter();
        execvp(arguments[2], arguments + 2);
        _exit(126);
    }
    /* What is the program's own is not to stay open here. */
    close(1);
    int status;
    if (waitpid(program, &status, WUNTRACED) < 0 || !WIFSTOPPED(status)) fatal("waiting for the program");
    long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SEIZE, program, 0, options) < 0) fatal("ptrace");
    kill(program, SIGCONT);
    pthread_t reader;
    pthread_create(&reader, NULL, commands, NULL);
    for (;;) {
        pid_t thread = waitpid(-1, &status, __WALL);
        if (thread < 0) {
            if (errno == EINTR) continue;
            return 0;
        }
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (thread == program) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        int signal = WSTOPSIG(status), event = status >> 16, to_end = 0;
        if (event == PTRACE_EVENT_SECCOMP) to_end = entered(thread);
        if (signal == (SIGTRAP | 0x80)) note_end(thread);
        /* A thread that has just begun stops once, as do all when somebody sends SIGSTOP: neither is the program's affair. */
        if (event != 0 || (signal & ~0x80) == SIGTRAP || signal == SIGSTOP) signal = 0;
        ptrace(to_end ? PTRACE_SYSCALL : PTRACE_CONT, thread, 0, signal);
    }
}
