// The guest's side of `stress confirm`: init of a small Linux that has nothing else in it. It does
// what a recipe says (harness/src/confirm/recipes), task by task, and tells the host by a system
// call that no kernel has (180): the host has a breakpoint on it.
//
// Licence: MIT OR Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BEGIN = 0xa1, DONE, FACT, SAY, ROUND, END }; // as in host.rs
enum { LINES = 256, WORDS = 12 };

// Shared by all tasks; the host writes `turn` through the page tables of whoever it has stopped.
struct shared { volatile long turn, done; };
static struct shared *sh;

struct line { char *word[WORDS]; int words; };
static struct line recipe[LINES];
static int lines;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static long host(int what, const void *text, long number) { return syscall(180, what, text, number); }

static void tell(int what, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  host(what, text, 0);
}

static void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set)) tell(SAY, "cpu %d: %s", cpu, strerror(errno));
}

static int put(const char *file, const char *text) {
  int fd = open(file, O_WRONLY);
  if (fd < 0) return errno;
  int error = write(fd, text, strlen(text)) < 0 ? errno : 0;
  close(fd);
  return error;
}

static int get(const char *file, char *text, int size) {
  int fd = open(file, O_RDONLY);
  int n = fd < 0 ? -1 : read(fd, text, size - 1);
  if (fd >= 0) close(fd);
  text[n > 0 ? n : 0] = 0;
  return n;
}

static int node_of(void *page) {
  int status = -99;
  void *pages[1] = { page };
  return syscall(SYS_move_pages, 0, 1, pages, 0, &status, 0) ? -errno : status;
}

// Memory blocks of a node (or any, -1) in a state, whose zones begin with `zone`.
static int blocks(int node, const char *state, const char *zone, int *found, int most) {
  int n = 0;
  char file[128], text[128];
  for (int i = 0; i < 4096 && n < most; i++) {
    if (node >= 0) {
      snprintf(file, sizeof file, "/sys/devices/system/memory/memory%d/node%d", i, node);
      if (access(file, F_OK)) continue;
    }
    snprintf(file, sizeof file, "/sys/devices/system/memory/memory%d/state", i);
    if (get(file, text, sizeof text) < 0 || strncmp(text, state, strlen(state))) continue;
    snprintf(file, sizeof file, "/sys/devices/system/memory/memory%d/valid_zones", i);
    get(file, text, sizeof text);
    if (zone && strncmp(text, zone, strlen(zone))) continue;
    found[n++] = i;
  }
  return n;
}

static void nothing(int signal) { (void)signal; }

// Writes a block's state, at most for so many seconds (a signal ends an offline): 0 or errno.
static int change(int block, const char *to, int seconds) {
  char file[128];
  snprintf(file, sizeof file, "/sys/devices/system/memory/memory%d/state", block);
  struct sigaction action = { .sa_handler = nothing };
  sigaction(SIGALRM, &action, 0);
  alarm(seconds);
  int error = put(file, to);
  alarm(0);
  return error;
}

// "offline movable NODE", "online movable all", "online kernel all"
static void hotplug(struct line *l) {
  int found[64], node = strcmp(l->word[2], "all") ? atoi(l->word[2]) : -1, ok = 0, failed = 0;
  int off = !strcmp(l->word[0], "offline");
  const char *zone = off && !strcmp(l->word[1], "movable") ? "Movable" : 0;
  char to[32];
  snprintf(to, sizeof to, off ? "offline" : "online_%s", l->word[1]);
  double start = now();
  int n = blocks(node, off ? "online" : "offline", zone, found, 64);
  for (int i = 0; i < n; i++) {
    int error = change(found[i], to, 30);
    if (error) {
      failed++;
      tell(SAY, "memory%d %s: %s", found[i], to, strerror(error));
    } else ok++;
  }
  tell(SAY, "%d blocks %s in %.0f ms, %d failed", ok, off ? "offline" : to, (now() - start) * 1e3, failed);
}

static void *page;
static int held[2] = { -1, -1 };

// One page of ramfs: GFP_HIGHUSER, not movable.
static void ram_page(const char *name) {
  char file[64], text[4096];
  snprintf(file, sizeof file, "/ram/%s", name);
  memset(text, 0x5a, sizeof text);
  int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || pwrite(fd, text, sizeof text, 0) != sizeof text) tell(SAY, "%s: %s", file, strerror(errno));
  page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (page == MAP_FAILED || *(volatile char *)page != 0x5a) tell(SAY, "%s: wrong content", file);
}

static void show_map(void) {
  char text[512], key[32];
  snprintf(key, sizeof key, "%lx ", (unsigned long)page);
  FILE *in = fopen("/proc/self/numa_maps", "r");
  while (in && fgets(text, sizeof text, in))
    if (strstr(text, key)) text[strcspn(text, "\n")] = 0, tell(SAY, "numa_maps: %s", text);
  if (in) fclose(in);
}

static int is(struct line *l, const char *word) { return !strcmp(l->word[0], word); }

// One step of a task.
static void step(struct line *l, int task) {
  if (is(l, "bind")) {
    unsigned long mask = 1ul << atoi(l->word[1]);
    if (syscall(SYS_set_mempolicy, 2, &mask, 65)) tell(SAY, "set_mempolicy: %s", strerror(errno));
  } else if (is(l, "turn")) {
    host(BEGIN, sh, task);
    while (sh->turn != task) usleep(1000);
  } else if (is(l, "done")) {
    host(DONE, 0, task);
    __atomic_fetch_add(&sh->done, 1, __ATOMIC_SEQ_CST);
  } else if (is(l, "ramfs")) ram_page(l->word[1]);
  else if (is(l, "node")) tell(FACT, "%s %d", l->word[1], node_of(page));
  else if (is(l, "maps")) show_map();
  else if (is(l, "pipe")) {
    char text[4096] = "x";
    if (write(held[1], text, sizeof text) != sizeof text) tell(SAY, "pipe: %s", strerror(errno));
  } else if (is(l, "pipes")) {
    if (pipe(held)) tell(SAY, "pipe: %s", strerror(errno));
  } else if (is(l, "offline") || is(l, "online")) hotplug(l);
  else if (is(l, "try-offline")) { // try-offline NODE SECONDS FACT: how many Movable blocks of the node won't
    int found[64], n = blocks(atoi(l->word[1]), "online", "Movable", found, 64), busy = 0;
    double start = now();
    for (int i = 0; i < n; i++) busy += change(found[i], "offline", atoi(l->word[2])) != 0;
    tell(SAY, "%d of %d blocks would not go offline, %.1f s", busy, n, now() - start);
    tell(FACT, "%s %d", l->word[3], busy);
  } else tell(SAY, "no step '%s'", l->word[0]);
}

// The lines of a section ("task A 1 cpu 1", "reset") up to the next one that is not indented.
static void section(int at, int task) {
  for (int i = at + 1; i < lines && recipe[i].words < 0; i++) {
    recipe[i].words = -recipe[i].words;
    step(&recipe[i], task);
    recipe[i].words = -recipe[i].words;
  }
}

static void sections(const char *name) {
  for (int i = 0; i < lines; i++)
    if (recipe[i].words > 0 && is(&recipe[i], name)) section(i, 0);
}

// Tasks keep what they have until the sections named check are done.
static void one_round(void) {
  pid_t child[16];
  int n = 0;
  sh->turn = sh->done = 0;
  for (int i = 0; i < lines; i++)
    if (recipe[i].words > 3 && is(&recipe[i], "task")) {
      int task = atoi(recipe[i].word[2]);
      if (!(child[n++] = fork())) {
        pin(atoi(recipe[i].word[4]));
        // The host writes through this task's page tables: the page has to be in them.
        __atomic_fetch_add(&sh->done, 0, __ATOMIC_SEQ_CST);
        char *touched = malloc(1 << 16);
        if (touched) memset(touched, 1, 1 << 16);
        section(i, task);
        for (;;) pause();
      }
    }
  while (sh->done < n) usleep(1000);
  sections("check");
  for (int i = 0; i < n; i++) kill(child[i], SIGKILL);
  for (int i = 0; i < n; i++) waitpid(child[i], 0, 0);
  sections("reset");
}

static void read_recipe(void) {
  static char text[1 << 16];
  get("/recipe", text, sizeof text);
  char *rest = text, *line;
  while ((line = strsep(&rest, "\n")) && lines < LINES) {
    struct line *l = &recipe[lines];
    int indented = *line == ' ';
    char *word;
    l->words = 0;
    while (l->words < WORDS && (word = strsep(&line, " "))) if (*word) l->word[l->words++] = word;
    if (!l->words || *l->word[0] == '#') continue;
    if (indented) l->words = -l->words;
    lines++;
  }
}

int main(void) {
  mkdir("/proc", 0755), mkdir("/sys", 0755), mkdir("/dev", 0755), mkdir("/ram", 0755);
  mount("p", "/proc", "proc", 0, 0), mount("s", "/sys", "sysfs", 0, 0);
  mount("d", "/dev", "devtmpfs", 0, 0), mount("r", "/ram", "ramfs", 0, 0);
  int console = open("/dev/console", O_RDWR);
  if (console >= 0) dup2(console, 0), dup2(console, 1), dup2(console, 2);
  sh = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  memset(sh, 0, sizeof *sh);
  pin(0);
  read_recipe();
  sections("setup");
  // The host answers in `turn`: another round, or the end.
  for (;;) {
    sh->turn = 0;
    host(ROUND, sh, 0);
    if (sh->turn != 1) break;
    one_round();
  }
  host(END, 0, 0);
  sync();
  reboot(RB_POWER_OFF);
  return 0;
}
