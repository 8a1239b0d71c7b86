use super::*;

/// A stand-in for `/proc` and a cgroup2 mount. Removed on drop.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str, controllers: &str) -> Self {
        let root = std::env::temp_dir().join(format!("fw-cgroup-{}-{name}", std::process::id()));
        let tree = Self(root);
        let own = tree.own();
        fs::create_dir_all(&own).unwrap();
        fs::create_dir_all(tree.proc()).unwrap();
        fs::write(own.join("cgroup.controllers"), controllers).unwrap();
        fs::write(own.join("cgroup.type"), "domain\n").unwrap();
        fs::write(own.join("cgroup.subtree_control"), "").unwrap();
        fs::write(tree.proc().join("cgroup"), "1:name=systemd:/x\n0::/system.slice/fw.service\n").unwrap();
        let mount = format!("30 24 0:26 / {} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n", tree.0.join("cg").display());
        fs::write(tree.proc().join("mountinfo"), format!("22 1 8:1 / / rw - ext4 /dev/vda rw\n{mount}")).unwrap();
        tree
    }
    fn own(&self) -> PathBuf {
        self.0.join("cg/system.slice/fw.service")
    }
    fn proc(&self) -> PathBuf {
        self.0.join("proc/self")
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_supervisor_moves_into_a_leaf_before_it_enables_controllers() {
    let tree = Tree::new("moves", "cpu memory pids io\n");
    Cgroups::set_up(&tree.proc(), 77).unwrap();
    assert_eq!(fs::read_to_string(tree.own().join("supervisor/cgroup.procs")).unwrap(), "77");
    assert_eq!(fs::read_to_string(tree.own().join("cgroup.subtree_control")).unwrap(), "+cpu");
}

#[test]
fn a_leaf_carries_its_limits() {
    let tree = Tree::new("limits", "cpu memory pids\n");
    let cgroups = Cgroups::set_up(&tree.proc(), 77).unwrap();
    let limits = Limits { memory: Some(96 << 20), pids: Some(32) };
    let leaf = tree.own().join("fw-77-job-1");
    match cgroups.leaf("job-1", limits) {
        Ok(made) => {
            assert_eq!(fs::read_to_string(leaf.join("memory.max")).unwrap(), (96 << 20).to_string());
            assert_eq!(fs::read_to_string(leaf.join("memory.oom.group")).unwrap(), "1");
            assert_eq!(fs::read_to_string(leaf.join("pids.max")).unwrap(), "32");
            assert_eq!(made.out_of_memory(), None);
            fs::write(leaf.join("memory.events"), "low 0\nmax 3\noom 1\noom_kill 1\n").unwrap();
            assert_eq!(made.out_of_memory(), Some(96 << 20));
            made.kill();
            assert_eq!(fs::read_to_string(leaf.join("cgroup.kill")).unwrap(), "1");
        }
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn a_subtree_without_the_memory_controller_is_refused_by_name() {
    let tree = Tree::new("refused", "cpu pids\n");
    let error = Cgroups::set_up(&tree.proc(), 77).unwrap_err().to_string();
    assert!(error.contains("memory") && error.contains("fw.service"), "{error}");
    assert!(!tree.own().join("supervisor").exists());
}

#[test]
fn a_machine_without_cgroup_v2_is_refused_by_name() {
    let tree = Tree::new("v1", "memory pids\n");
    fs::write(tree.proc().join("cgroup"), "4:memory:/x\n").unwrap();
    assert!(Cgroups::set_up(&tree.proc(), 77).unwrap_err().to_string().contains("no cgroup v2"));
}

#[test]
fn leaves_of_a_dead_supervisor_are_removed_and_those_of_a_living_one_stay() {
    let tree = Tree::new("leftovers", "memory pids\n");
    for name in ["fw-5-job-1", "fw-6-job-1", "other"] {
        fs::create_dir(tree.own().join(name)).unwrap();
    }
    fs::create_dir_all(tree.0.join("proc/6")).unwrap();
    Cgroups::set_up(&tree.proc(), 77).unwrap();
    // A plain file in the way keeps this stand-in directory, where the kernel's would go: the kill is what counts.
    assert_eq!(fs::read_to_string(tree.own().join("fw-5-job-1/cgroup.kill")).unwrap(), "1");
    assert!(!tree.own().join("fw-6-job-1/cgroup.kill").exists());
    assert!(!tree.own().join("other/cgroup.kill").exists());
}

#[test]
fn sweeping_removes_only_leaves_of_ours_that_are_empty() {
    let tree = Tree::new("sweep", "memory pids\n");
    let cgroups = Cgroups::set_up(&tree.proc(), 77).unwrap();
    for (name, populated) in [("fw-77-job-1", 0), ("fw-77-job-2", 1), ("fw-78-job-1", 0)] {
        fs::create_dir(tree.own().join(name)).unwrap();
        fs::write(tree.own().join(name).join("cgroup.events"), format!("populated {populated}\nfrozen 0\n")).unwrap();
    }
    let removable = |name: &str| {
        let events = read(&tree.own().join(name).join("cgroup.events")).unwrap();
        value(&events, "populated") == Some(0)
    };
    assert!(removable("fw-77-job-1") && !removable("fw-77-job-2"));
    cgroups.sweep();
    assert!(tree.own().join("fw-77-job-2").exists() && tree.own().join("fw-78-job-1").exists());
}

#[test]
fn in_a_container_the_path_is_taken_below_the_mounted_root() {
    let tree = Tree::new("container", "memory pids\n");
    let mount = format!("30 24 0:26 /system.slice {} rw - cgroup2 none rw\n", tree.0.join("inner").display());
    fs::write(tree.proc().join("mountinfo"), mount).unwrap();
    assert_eq!(own_cgroup(&tree.proc()).unwrap(), tree.0.join("inner/fw.service"));
}
