use super::*;
use crate::config::{self, IsolationMode};
use crate::supervisor::isolation::Isolation;
use crate::supervisor::process::{Kind, Plan, Spawner};
use protocol::worker::MemoryLimit;
use std::time::Duration;

/// A stand-in for `/proc` and a cgroup2 mount, with us as process 77. Removed on drop.
struct Tree(PathBuf);

/// Of process 77.
const START: u64 = 4242;

impl Tree {
    fn new(name: &str, controllers: &str) -> Self {
        let root = std::env::temp_dir().join(format!("fw-cgroup-{}-{name}", std::process::id()));
        let tree = Self(root);
        let own = tree.own();
        fs::create_dir_all(&own).unwrap();
        fs::create_dir_all(tree.proc().join("self")).unwrap();
        for (file, content) in [
            ("cgroup.controllers", controllers),
            ("cgroup.type", "domain\n"),
            ("cgroup.subtree_control", ""),
            ("cgroup.procs", "77\n"),
        ] {
            fs::write(own.join(file), content).unwrap();
        }
        fs::write(tree.0.join("cg/cgroup.controllers"), "cpu io memory pids\n").unwrap();
        tree.kernel_files("supervisor", &["cgroup.procs", "cpu.weight", "memory.low"]);
        tree.process(77, START);
        fs::write(tree.proc().join("self/cgroup"), "1:name=systemd:/x\n0::/system.slice/fw.service\n").unwrap();
        let mount = format!("30 24 0:26 / {} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n", tree.0.join("cg").display());
        tree.mounts(&format!("22 1 8:1 / / rw - ext4 /dev/vda rw\n{mount}"));
        tree
    }
    fn mounts(&self, text: &str) {
        fs::write(self.proc().join("self/mountinfo"), text).unwrap();
    }
    fn own(&self) -> PathBuf {
        self.0.join("cg/system.slice/fw.service")
    }
    fn proc(&self) -> PathBuf {
        self.0.join("proc")
    }
    /// A process that lives.
    fn process(&self, pid: u32, start: u64) {
        let directory = self.proc().join(pid.to_string());
        fs::create_dir_all(&directory).unwrap();
        let before = "S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0";
        fs::write(directory.join("stat"), format!("{pid} (a (b) c) {before} {start} 0\n")).unwrap();
    }
    /// What the kernel would put into a cgroup as it is made.
    fn kernel_files(&self, leaf: &str, files: &[&str]) -> PathBuf {
        let path = self.own().join(leaf);
        fs::create_dir_all(&path).unwrap();
        files.iter().for_each(|file| fs::write(path.join(file), "").unwrap());
        path
    }
    fn set_up(&self) -> Cgroups {
        Cgroups::set_up(&self.proc(), 77).unwrap()
    }
    fn subtree_control(&self) -> String {
        fs::read_to_string(self.own().join("cgroup.subtree_control")).unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn job(number: u32) -> String {
    format!("fw-77-{START}-job-{number}")
}

#[test]
fn the_supervisor_moves_into_a_leaf_before_it_enables_controllers() {
    let tree = Tree::new("moves", "cpu memory pids io\n");
    assert_eq!(tree.set_up().missing(), []);
    let text = |file: &str| fs::read_to_string(tree.own().join("supervisor").join(file)).unwrap();
    assert_eq!((text("cgroup.procs").as_str(), text("cpu.weight").as_str()), ("77", "500"));
    assert_eq!(text("memory.low"), (12 << 20).to_string());
    assert_eq!(tree.subtree_control(), "+io", "each is a write of its own, this one the last");
}

#[test]
fn a_supervisor_that_is_in_its_leaf_already_makes_leaves_beside_it() {
    let tree = Tree::new("again", "memory pids\n");
    fs::write(tree.proc().join("self/cgroup"), "0::/system.slice/fw.service/supervisor\n").unwrap();
    fs::write(tree.own().join("cgroup.procs"), "").unwrap();
    let leaf = tree.set_up().leaf("job-1", Limits::default(), Role::Job).unwrap();
    assert!(tree.own().join(job(1)).exists());
    drop(leaf);
    assert!(!tree.own().join("supervisor/supervisor").exists());
}

#[test]
fn a_leaf_carries_its_limits_and_its_owners_weight() {
    let tree = Tree::new("limits", "cpu memory pids io\n");
    let mut cgroups = tree.set_up();
    let files =
        ["memory.max", "memory.swap.max", "memory.oom.group", "memory.low", "pids.max", "cpu.max", "cpu.weight"];
    let path = tree.kernel_files(&job(1), &[&files[..], &["io.weight", "cgroup.kill"]].concat());
    let limits = Limits { memory: Some(96 << 20), pids: Some(32), cpu_percent: Some(150) };
    let leaf = cgroups.leaf("job-1", limits, Role::Job).unwrap();
    let text = |file: &str| fs::read_to_string(path.join(file)).unwrap();
    let memory = (96 << 20).to_string();
    let expected = [memory.as_str(), "0", "1", "0", "32", "30000 20000", "100"];
    assert_eq!(files.map(text), expected);
    assert_eq!(text("io.weight"), "default 100");
    leaf.hasten();
    assert_eq!((text("cpu.weight").as_str(), text("cpu.max").as_str()), ("1600", "max"));
    leaf.kill();
    assert_eq!(text("cgroup.kill"), "1");
    let owner = tree.kernel_files(&format!("fw-77-{START}-owner-2"), &files);
    let _leaf = cgroups.leaf("owner-2", Limits::default(), Role::Owner).unwrap();
    let text = |file: &str| fs::read_to_string(owner.join(file)).unwrap();
    assert_eq!(files.map(text), ["max", "max", "1", &(40 << 20).to_string(), "max", "max 20000", "800"]);
}

#[test]
fn a_kill_is_blamed_on_the_leafs_own_limit_only_if_that_was_reached() {
    let tree = Tree::new("oom", "memory pids\n");
    let mut cgroups = tree.set_up();
    let path =
        tree.kernel_files(&job(1), &["memory.max", "memory.oom.group", "memory.events", "pids.max", "pids.events"]);
    let limits = Limits { memory: Some(96 << 20), pids: Some(32), cpu_percent: None };
    let leaf = cgroups.leaf("job-1", limits, Role::Job).unwrap();
    let events = |text: &str| fs::write(path.join("memory.events"), text).unwrap();
    events("low 0\nmax 30\noom 0\noom_kill 0\n");
    assert_eq!(leaf.out_of_memory(), None, "reclaim at the limit kills nobody");
    events("low 0\nmax 3\noom 1\noom_kill 4\noom_group_kill 1\n");
    assert_eq!(leaf.out_of_memory(), Some(MemoryLimit::Bytes(96 << 20)));
    events("low 0\nmax 0\noom 0\noom_kill 1\n");
    assert_eq!(leaf.out_of_memory(), Some(MemoryLimit::Board));
    assert_eq!(leaf.out_of_pids(), None);
    fs::write(path.join("pids.events"), "max 7\n").unwrap();
    assert_eq!(leaf.out_of_pids(), Some(32));
}

#[test]
fn other_limits_take_the_place_of_the_first_unless_more_memory_is_used_already() {
    let tree = Tree::new("change", "memory pids\n");
    let mut cgroups = tree.set_up();
    let path = tree.kernel_files(&job(1), &["memory.max", "memory.oom.group", "memory.swap.max", "pids.max"]);
    let mut leaf = cgroups.leaf("job-1", Limits { memory: Some(64 << 20), ..Limits::default() }, Role::Job).unwrap();
    fs::write(path.join("memory.current"), "40000000\n").unwrap();
    let text = |file: &str| fs::read_to_string(path.join(file)).unwrap();
    assert!(leaf.change(Limits { memory: Some(40 << 20), pids: Some(16), cpu_percent: None }).unwrap());
    assert_eq!((text("memory.max"), text("pids.max")), ((40 << 20).to_string(), "16".into()));
    assert!(!leaf.change(Limits { memory: Some(30 << 20), ..Limits::default() }).unwrap());
    assert_eq!((text("memory.max"), text("pids.max")), ((40 << 20).to_string(), "16".into()));
    assert!(leaf.change(Limits::default()).unwrap());
    assert_eq!(
        (text("memory.max"), text("memory.swap.max"), text("pids.max")),
        ("max".into(), "max".into(), "max".into())
    );
}

#[test]
fn what_a_leaf_counts_is_read_and_what_it_does_not_count_is_unknown() {
    let tree = Tree::new("usage", "memory\n");
    let mut cgroups = tree.set_up();
    let path = tree.kernel_files(&job(1), &["memory.max", "memory.oom.group"]);
    let leaf = cgroups.leaf("job-1", Limits { memory: Some(64 << 20), ..Limits::default() }, Role::Job).unwrap();
    fs::write(path.join("memory.current"), "5242880\n").unwrap();
    fs::write(path.join("cpu.stat"), "usage_usec 1500\nuser_usec 1000\n").unwrap();
    let usage = leaf.usage();
    assert_eq!((usage.memory, usage.memory_peak, usage.cpu_us, usage.pids), (Some(5 << 20), None, Some(1500), None));
    assert_eq!(usage.limits.memory, Some(64 << 20));
}

#[test]
fn without_the_memory_controller_leaves_work_and_the_message_names_the_boot_option() {
    let tree = Tree::new("raspberry", "cpu pids\n");
    fs::write(tree.0.join("cg/cgroup.controllers"), "cpu pids\n").unwrap();
    let mut cgroups = tree.set_up();
    let missing = &cgroups.missing()[0];
    assert!(
        missing.controller == "memory" && missing.needed && missing.why.contains("cgroup_enable=memory"),
        "{missing:?}"
    );
    let path = tree.kernel_files(&job(1), &["pids.max", "cpu.max"]);
    let limits = Limits { memory: Some(96 << 20), pids: Some(32), cpu_percent: None };
    let leaf = cgroups.leaf("job-1", limits, Role::Job).unwrap();
    assert_eq!(fs::read_to_string(path.join("pids.max")).unwrap(), "32");
    assert_eq!(leaf.usage().limits, Limits { memory: None, ..limits }, "no limit is claimed that nobody keeps");
}

#[test]
fn a_service_without_delegation_and_a_host_with_v1_controllers_are_told_apart() {
    let tree = Tree::new("undelegated", "\n");
    let why = |cgroups: &Cgroups| cgroups.missing().iter().map(|missing| missing.why.clone()).collect::<Vec<_>>();
    assert!(why(&tree.set_up()).iter().all(|why| why.contains("Delegate=yes")));
    assert_eq!(tree.subtree_control(), "");
    let unified = format!("30 24 0:26 / {} rw - cgroup2 cgroup2 rw\n", tree.0.join("cg").display());
    tree.mounts(&format!("31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n{unified}"));
    let cgroups = tree.set_up();
    assert!(why(&cgroups)[0].contains("systemd.unified_cgroup_hierarchy"), "{:?}", cgroups.missing());
    assert!(why(&cgroups)[1].contains("Delegate=yes"), "{:?}", cgroups.missing());
}

#[test]
fn among_other_processes_nothing_is_moved_and_the_message_says_how_to_be_alone() {
    let tree = Tree::new("crowded", "memory pids\n");
    fs::write(tree.own().join("cgroup.procs"), "5\n77\n").unwrap();
    let cgroups = tree.set_up();
    let memory = cgroups.missing().iter().find(|missing| missing.controller == "memory").unwrap();
    assert!(memory.why.contains("1 other processes"), "{memory:?}");
    assert_eq!(fs::read_to_string(tree.own().join("supervisor/cgroup.procs")).unwrap(), "");
    // The root of the hierarchy may hold processes.
    fs::remove_file(tree.own().join("cgroup.type")).unwrap();
    assert!(tree.set_up().missing().iter().all(|missing| !missing.needed));
}

#[test]
fn a_machine_without_cgroup_v2_is_refused_by_name() {
    let tree = Tree::new("v1", "memory pids\n");
    fs::write(tree.proc().join("self/cgroup"), "4:memory:/x\n").unwrap();
    assert!(Cgroups::set_up(&tree.proc(), 77).unwrap_err().to_string().contains("no cgroup v2"));
}

#[test]
fn leaves_of_a_dead_supervisor_are_removed_and_those_of_a_living_one_stay() {
    let tree = Tree::new("leftovers", "memory pids\n");
    tree.process(6, 600);
    tree.process(7, 701);
    tree.process(8, 800);
    let stat = tree.proc().join("8/stat");
    fs::write(&stat, fs::read_to_string(&stat).unwrap().replace(") S ", ") Z ")).unwrap();
    let gone = ["fw-5-500-job-1", "fw-7-700-job-1", "fw-8-800-job-1", &job(1)];
    for name in [&gone[..], &["fw-6-600-job-1", "other", "fw-x"]].concat() {
        tree.kernel_files(name, &["cgroup.kill", "cgroup.events"]);
        fs::write(tree.own().join(name).join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
    }
    let mut cgroups = tree.set_up();
    let killed = |name: &str| fs::read_to_string(tree.own().join(name).join("cgroup.kill")).unwrap() == "1";
    assert!(killed(gone[0]), "its supervisor is gone");
    assert!(killed(gone[1]), "its supervisor's pid is another's now");
    assert!(killed(gone[2]), "its supervisor is a zombie");
    assert!(!killed(gone[3]), "ours, from before an exec");
    assert!(!killed("fw-6-600-job-1") && !killed("other") && !killed("fw-x"));
    // A plain file in the way keeps these stand-ins, as a dying process keeps the kernel's.
    let due = cgroups.sweep_at().expect("they are still there");
    for name in &gone[..3] {
        fs::remove_file(tree.own().join(name).join("cgroup.kill")).unwrap();
        fs::remove_file(tree.own().join(name).join("cgroup.events")).unwrap();
    }
    cgroups.sweep(due);
    assert_eq!(cgroups.sweep_at(), None);
    assert!(!tree.own().join(gone[0]).exists() && tree.own().join("fw-6-600-job-1").exists());
}

#[test]
fn a_leaf_is_swept_only_when_no_child_has_it_any_more() {
    let tree = Tree::new("sweep", "memory pids\n");
    let mut cgroups = tree.set_up();
    let path = tree.kernel_files(&job(1), &["memory.max", "memory.oom.group", "pids.max", "memory.events"]);
    let leaf = cgroups.leaf("job-1", Limits::default(), Role::Job).unwrap();
    cgroups.sweep(Instant::now());
    assert_eq!(cgroups.sweep_at(), None);
    assert!(path.join("memory.events").exists(), "how its child died can still be read");
    drop(leaf);
    let due = cgroups.sweep_at().expect("files keep this stand-in");
    for file in ["memory.max", "memory.oom.group", "pids.max", "memory.events"] {
        fs::remove_file(path.join(file)).unwrap();
    }
    // What the child has made in it goes too.
    fs::create_dir_all(path.join("mine/inner")).unwrap();
    cgroups.sweep(due);
    assert!(cgroups.sweep_at().is_none() && !path.exists());
}

#[test]
fn a_leaf_whose_processes_hang_in_the_kernel_does_not_hold_up_the_removal_of_others() {
    let tree = Tree::new("hangs", "memory pids\n");
    let mut cgroups = tree.set_up();
    // A plain file in the way keeps a stand-in, as a process that hangs or dies keeps the kernel's.
    let [hangs, dies] = [1, 2].map(|number| tree.kernel_files(&job(number), &["memory.max"]));
    let [hanging, dying] = ["job-1", "job-2"].map(|name| cgroups.leaf(name, Limits::default(), Role::Job).unwrap());
    drop(hanging);
    let mut now = Instant::now();
    for _ in 0..20 {
        now = cgroups.sweep_at().expect("it is still there");
        cgroups.sweep(now);
    }
    assert!(cgroups.sweep_at().is_some_and(|at| at >= now + Duration::from_secs(10)), "it may take long");
    drop(dying);
    fs::remove_file(dies.join("memory.max")).unwrap();
    assert!(cgroups.sweep_at().is_some_and(|at| at <= now));
    cgroups.sweep(now);
    assert!(!dies.exists() && hangs.exists());
}

#[test]
fn a_kernel_that_cannot_kill_a_cgroup_has_its_processes_killed_one_by_one_while_they_are_frozen() {
    let tree = Tree::new("kill", "memory pids\n");
    let mut cgroups = tree.set_up();
    let path = tree.kernel_files(&job(1), &["memory.max", "memory.oom.group", "pids.max", "cgroup.freeze"]);
    let leaf = cgroups.leaf("job-1", Limits::default(), Role::Job).unwrap();
    let mut sleepers = [(); 2].map(|()| std::process::Command::new("sleep").arg("60").spawn().unwrap());
    let pids: String = sleepers.iter().map(|sleeper| format!("{}\n", sleeper.id())).collect();
    fs::write(path.join("cgroup.procs"), pids).unwrap();
    leaf.kill();
    for sleeper in &mut sleepers {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(sleeper.wait().unwrap().signal(), Some(9));
    }
    assert_eq!(fs::read_to_string(path.join("cgroup.freeze")).unwrap(), "0", "thawed, so that they can die");
}

#[test]
fn in_a_container_the_path_is_taken_below_the_mounted_root() {
    let tree = Tree::new("container", "memory pids\n");
    let inner = tree.0.join("in ner");
    fs::create_dir_all(inner.join("fw.service")).unwrap();
    fs::write(inner.join("fw.service/cgroup.procs"), "").unwrap();
    let written = inner.display().to_string().replace(' ', "\\040");
    tree.mounts(&format!(
        "29 24 0:26 / /nowhere rw - cgroup2 none rw\n30 24 0:26 /system.slice {written} rw - cgroup2 none rw\n"
    ));
    assert_eq!(locate::own(&tree.proc().join("self")).unwrap().base, inner.join("fw.service"));
}

#[tokio::test]
async fn a_strict_worker_starts_no_child_that_would_have_no_leaf() {
    let tree = Tree::new("strict", "memory pids\n");
    let cgroups = tree.set_up();
    fs::remove_dir_all(tree.own()).unwrap();
    let settings = config::Isolation { mode: IsolationMode::Strict, ..config::Isolation::default() };
    let mut spawner = Spawner::new(Some(cgroups), Isolation::new(settings, Vec::new()), tracing::Level::ERROR).unwrap();
    let plan = Plan { name: "job", subcommand: "nothing", limits: Limits::default(), kind: Kind::Job };
    let why = spawner.spawn(plan, &(), &()).unwrap_err();
    assert!(why.starts_with("isolation is strict, and a job process would have no limits: mkdir "), "{why}");
}
