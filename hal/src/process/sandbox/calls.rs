//! System calls by name: which the filter allows, and what others are called.

use libc::c_long;

/// Number, and name as the constant has it: `SYS_read`.
type Call = (c_long, &'static str);

macro_rules! calls {
    ($($(#[$about:meta])* $list:ident: $($number:ident)*;)*) => {
        $($(#[$about])* const $list: &[Call] = &[$((libc::$number, stringify!($number))),*];)*
    };
}

calls! {
    /// What our processes, glibc and ordinary user code make. None reaches beyond the process but through files, sockets and
    /// memory that it has anyway. Calls whose arguments decide (`clone`, `ioctl`, `socket`) are in the filter itself.
    ALLOWED: SYS_accept SYS_accept4 SYS_bind SYS_brk SYS_capget SYS_chdir SYS_clock_getres SYS_clock_gettime
        SYS_clock_nanosleep SYS_close SYS_close_range SYS_connect SYS_copy_file_range SYS_dup SYS_dup3
        SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_exit SYS_exit_group
        SYS_faccessat SYS_faccessat2 SYS_fadvise64 SYS_fallocate SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fcntl
        SYS_fdatasync SYS_flock SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futex SYS_futex_waitv
        SYS_get_robust_list SYS_getcpu SYS_getcwd SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups
        SYS_getitimer SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid SYS_getpriority SYS_getrandom SYS_getresgid
        SYS_getresuid SYS_getrusage SYS_getsid SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid
        SYS_inotify_add_watch SYS_inotify_init1 SYS_inotify_rm_watch SYS_kill SYS_linkat SYS_listen SYS_lseek
        SYS_madvise SYS_membarrier SYS_memfd_create SYS_mincore SYS_mkdirat SYS_mlock SYS_mlock2 SYS_mlockall SYS_mmap
        SYS_mprotect SYS_mremap SYS_msync SYS_munlock SYS_munlockall SYS_munmap SYS_nanosleep SYS_newfstatat
        SYS_openat SYS_openat2 SYS_pipe2 SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64
        SYS_pselect6 SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readlinkat SYS_readv SYS_recvfrom SYS_recvmmsg
        SYS_recvmsg SYS_renameat2 SYS_restart_syscall SYS_rseq SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask
        SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo
        SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getaffinity SYS_sched_getattr
        SYS_sched_getparam SYS_sched_getscheduler SYS_sched_setaffinity SYS_sched_setattr SYS_sched_setparam
        SYS_sched_setscheduler SYS_sched_yield SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_set_robust_list
        SYS_set_tid_address SYS_setitimer SYS_setpriority SYS_setsockopt SYS_shutdown SYS_sigaltstack SYS_signalfd4
        SYS_socketpair SYS_splice SYS_statfs SYS_statx SYS_symlinkat SYS_sysinfo SYS_tee SYS_tgkill SYS_timer_create
        SYS_timer_delete SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime SYS_timerfd_create
        SYS_timerfd_gettime SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask SYS_uname SYS_unlinkat
        SYS_utimensat SYS_vmsplice SYS_wait4 SYS_waitid SYS_write SYS_writev;
}

calls! {
    /// What 64-bit ARM never had, as older programs make it.
    #[cfg(target_arch = "x86_64")]
    OLD: SYS_renameat SYS_setrlimit SYS_sync_file_range SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_creat
        SYS_dup2 SYS_epoll_create SYS_epoll_wait SYS_eventfd SYS_getdents SYS_getpgrp SYS_getrlimit SYS_inotify_init
        SYS_link SYS_lstat SYS_mkdir SYS_open SYS_pause SYS_pipe SYS_poll SYS_readlink SYS_rename SYS_rmdir SYS_select
        SYS_signalfd SYS_stat SYS_symlink SYS_time SYS_unlink SYS_utimes;
}
/// Of asm-generic/unistd.h, where libc has no constants.
#[cfg(target_arch = "aarch64")]
const OLD: &[Call] =
    &[(38, "SYS_renameat"), (84, "SYS_sync_file_range"), (163, "SYS_getrlimit"), (164, "SYS_setrlimit")];

calls! {
    /// What starts programs; the configuration may allow it, and then processes to start them in.
    PROGRAMS: SYS_execve SYS_execveat;
}

/// What makes a process, beside `clone`.
#[cfg(target_arch = "x86_64")]
pub(super) const FORKS: &[c_long] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(target_arch = "aarch64")]
pub(super) const FORKS: &[c_long] = &[];

calls! {
    /// Refused, by name: so that the operator reads which, and the configuration can allow it.
    REFUSED: SYS_acct SYS_add_key SYS_adjtimex SYS_bpf SYS_capset SYS_chroot SYS_clock_adjtime SYS_clock_settime
        SYS_clone SYS_delete_module SYS_fanotify_init SYS_fanotify_mark SYS_fchown SYS_fchownat SYS_fgetxattr
        SYS_finit_module SYS_flistxattr SYS_fremovexattr SYS_fsconfig SYS_fsetxattr SYS_fsmount SYS_fsopen SYS_fspick
        SYS_get_mempolicy SYS_getxattr SYS_init_module SYS_io_cancel SYS_io_destroy SYS_io_getevents SYS_io_setup
        SYS_io_submit SYS_io_uring_enter SYS_io_uring_register SYS_io_uring_setup SYS_ioctl SYS_ioprio_get
        SYS_ioprio_set SYS_kcmp SYS_kexec_load SYS_keyctl SYS_landlock_add_rule SYS_landlock_create_ruleset
        SYS_landlock_restrict_self SYS_lgetxattr SYS_listxattr SYS_llistxattr SYS_lookup_dcookie SYS_lremovexattr
        SYS_lsetxattr SYS_mbind SYS_migrate_pages SYS_mknodat SYS_mount SYS_mount_setattr SYS_move_mount
        SYS_move_pages SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend SYS_mq_unlink
        SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_name_to_handle_at SYS_nfsservctl SYS_open_by_handle_at
        SYS_open_tree SYS_perf_event_open SYS_personality SYS_pidfd_getfd SYS_pidfd_open SYS_pidfd_send_signal
        SYS_pivot_root SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_process_madvise SYS_process_mrelease
        SYS_process_vm_readv SYS_process_vm_writev SYS_ptrace SYS_quotactl SYS_quotactl_fd SYS_readahead SYS_reboot
        SYS_remap_file_pages SYS_removexattr SYS_request_key SYS_seccomp SYS_semctl SYS_semget SYS_semop
        SYS_semtimedop SYS_set_mempolicy SYS_setdomainname SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups
        SYS_sethostname SYS_setns SYS_setpgid SYS_setregid SYS_setresgid SYS_setresuid SYS_setreuid SYS_setsid
        SYS_settimeofday SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget SYS_socket SYS_swapoff
        SYS_swapon SYS_sync SYS_syncfs SYS_syslog SYS_umount2 SYS_unshare SYS_userfaultfd SYS_vhangup;
}

calls! {
    #[cfg(target_arch = "x86_64")]
    OLD_REFUSED: SYS_chown SYS_fork SYS_ioperm SYS_iopl SYS_kexec_file_load SYS_lchown SYS_mknod SYS_modify_ldt
        SYS_sysfs SYS_uselib SYS_ustat SYS_utime SYS_vfork;
}
#[cfg(target_arch = "aarch64")]
const OLD_REFUSED: &[Call] = &[];

/// Whether a call starts programs.
pub(super) fn starts_programs(number: c_long) -> bool {
    PROGRAMS.iter().any(|(known, _)| *known == number)
}

/// The numbers that are allowed in any case.
pub(super) fn allowed() -> impl Iterator<Item = c_long> {
    ALLOWED.iter().chain(OLD).map(|(number, _)| *number)
}

/// The number of a call that the table knows by name.
pub(super) fn number(name: &str) -> Option<c_long> {
    all().find(|call| plain(call) == name).map(|(number, _)| *number)
}

/// Its name, or its number where that is newer than the table.
pub(super) fn name(number: usize) -> String {
    let known = all().find(|(known, _)| usize::try_from(*known) == Ok(number));
    known.map_or_else(|| format!("call {number}"), |call| plain(call).to_owned())
}

fn plain((_, name): &Call) -> &'static str {
    name.strip_prefix("SYS_").unwrap_or(name)
}

/// The highest number of the table. A higher one is a call of a newer kernel.
pub(super) fn newest() -> c_long {
    all().map(|(number, _)| *number).max().unwrap_or_default()
}

fn all() -> impl Iterator<Item = &'static Call> {
    [ALLOWED, OLD, PROGRAMS, REFUSED, OLD_REFUSED].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_call_is_in_one_list_and_found_by_name_and_number() {
        let numbers: BTreeSet<_> = all().map(|(number, _)| *number).collect();
        assert_eq!(numbers.len(), all().count());
        assert_eq!(number("ptrace"), Some(libc::SYS_ptrace));
        assert_eq!(number("ptrace64"), None);
        assert_eq!(name(libc::SYS_mount as usize), "mount");
        assert_eq!(name(999), "call 999");
    }

    #[test]
    fn nothing_that_reaches_another_process_or_the_system_is_allowed() {
        let allowed: BTreeSet<_> = allowed().collect();
        for name in ["ptrace", "process_vm_writev", "mount", "bpf", "unshare", "setns", "execve", "io_uring_setup"] {
            assert!(!allowed.contains(&number(name).unwrap()), "{name}");
        }
    }
}
