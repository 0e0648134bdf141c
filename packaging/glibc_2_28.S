// Functions that glibc 2.34 moved into libc.so and gave a new version, for objects that are
// compiled already: the CUDA runtime. Calls go on to the version that glibc 2.28 has as well.
#if defined(__x86_64__)
#define SINCE GLIBC_2.2.5
#define DLMOPEN_SINCE GLIBC_2.3.4
#define GO jmp
#define AT @PLT
#elif defined(__aarch64__)
#define SINCE GLIBC_2.17
#define DLMOPEN_SINCE GLIBC_2.17
#define GO b
#define AT
#endif
#define CONCAT(a, b) a##b
#define OLDER(name, version) \
    .hidden name; .globl name; .type name, %function; \
    .symver CONCAT(older_, name), name@version; \
    name: GO CONCAT(older_, name) AT

    .text
    OLDER(dlclose, SINCE)
    OLDER(dlerror, SINCE)
    OLDER(dlmopen, DLMOPEN_SINCE)
    OLDER(dlopen, SINCE)
    OLDER(dlsym, SINCE)
    OLDER(dlvsym, SINCE)
    OLDER(pow, SINCE)
    OLDER(pthread_condattr_setpshared, SINCE)
    OLDER(pthread_create, SINCE)
    OLDER(pthread_detach, SINCE)
    OLDER(pthread_getspecific, SINCE)
    OLDER(pthread_join, SINCE)
    OLDER(pthread_key_create, SINCE)
    OLDER(pthread_key_delete, SINCE)
    OLDER(pthread_kill, SINCE)
    OLDER(pthread_mutex_trylock, SINCE)
    OLDER(pthread_mutexattr_destroy, SINCE)
    OLDER(pthread_mutexattr_init, SINCE)
    OLDER(pthread_mutexattr_setpshared, SINCE)
    OLDER(pthread_mutexattr_settype, SINCE)
    OLDER(pthread_once, SINCE)
    OLDER(pthread_rwlock_destroy, SINCE)
    OLDER(pthread_rwlock_init, SINCE)
    OLDER(pthread_rwlock_rdlock, SINCE)
    OLDER(pthread_rwlock_timedrdlock, SINCE)
    OLDER(pthread_rwlock_timedwrlock, SINCE)
    OLDER(pthread_rwlock_tryrdlock, SINCE)
    OLDER(pthread_rwlock_trywrlock, SINCE)
    OLDER(pthread_rwlock_unlock, SINCE)
    OLDER(pthread_rwlock_wrlock, SINCE)
    OLDER(pthread_rwlockattr_destroy, SINCE)
    OLDER(pthread_rwlockattr_init, SINCE)
    OLDER(pthread_rwlockattr_setpshared, SINCE)
    OLDER(pthread_setspecific, SINCE)
    OLDER(pthread_spin_destroy, SINCE)
    OLDER(pthread_spin_init, SINCE)
    OLDER(pthread_spin_lock, SINCE)
    OLDER(pthread_spin_trylock, SINCE)
    OLDER(pthread_spin_unlock, SINCE)
    OLDER(sem_destroy, SINCE)
    OLDER(sem_init, SINCE)
    OLDER(sem_post, SINCE)
    OLDER(sem_timedwait, SINCE)
    OLDER(sem_trywait, SINCE)
    OLDER(sem_wait, SINCE)
    OLDER(shm_open, SINCE)
    OLDER(shm_unlink, SINCE)
    .section .note.GNU-stack, "", %progbits
