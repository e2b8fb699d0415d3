// What std does while a thread waits, told to ThreadSanitizer.
//
// Our code and the inlined fast paths of std's locks are instrumented; what std does out of line is not: the stable
// toolchain has no instrumented std. A lock that was taken after waiting would look as if nothing had happened before it,
// and every access under it like a race. So the linker sends the calls of these functions here (--wrap), and the order that
// they establish is told by hand: on the address of the lock, where the inlined unlock has released it. Nothing is
// suppressed by it. The names are std's own, found in a linked binary by tests/sanitize/run.
//
// A lock is one 32-bit futex at its own address; references and durations travel in the same registers as in C.
#include <stdbool.h>
#include <stdint.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);

#define JOIN(a, b) a##b
#define REAL(name) JOIN(__real_, name)
#define WRAP(name) JOIN(__wrap_, name)

// Returns with the lock taken.
#define WAITS_FOR_LOCK(name)                                                                                           \
    void REAL(name)(void *lock);                                                                                       \
    void WRAP(name)(void *lock) {                                                                                      \
        REAL(name)(lock);                                                                                              \
        __tsan_acquire(lock);                                                                                          \
    }

WAITS_FOR_LOCK(MUTEX_LOCK)
WAITS_FOR_LOCK(RWLOCK_READ)
WAITS_FOR_LOCK(RWLOCK_WRITE)

// The last owner of an Arc is found by a decrement that releases, and a fence that acquires what the others released.
// ThreadSanitizer knows no fences: so every decrement of a count acquires as well.
enum { RELEASE = 3, ACQUIRE_RELEASE = 4 };
uint64_t __real___tsan_atomic64_fetch_sub(volatile uint64_t *count, uint64_t one, int order);
uint64_t __wrap___tsan_atomic64_fetch_sub(volatile uint64_t *count, uint64_t one, int order) {
    return __real___tsan_atomic64_fetch_sub(count, one, order == RELEASE ? ACQUIRE_RELEASE : order);
}

// Gives the mutex back, waits, and takes it again.
void REAL(CONDVAR_WAIT)(void *condvar, void *mutex);
void WRAP(CONDVAR_WAIT)(void *condvar, void *mutex) {
    __tsan_release(mutex);
    REAL(CONDVAR_WAIT)(condvar, mutex);
    __tsan_acquire(mutex);
}

bool REAL(CONDVAR_WAIT_TIMEOUT)(void *condvar, void *mutex, uint64_t seconds, uint32_t nanoseconds);
bool WRAP(CONDVAR_WAIT_TIMEOUT)(void *condvar, void *mutex, uint64_t seconds, uint32_t nanoseconds) {
    __tsan_release(mutex);
    bool is_woken = REAL(CONDVAR_WAIT_TIMEOUT)(condvar, mutex, seconds, nanoseconds);
    __tsan_acquire(mutex);
    return is_woken;
}
