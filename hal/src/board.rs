//! Board facts under an injectable root: model, temperature, memory, pressure.
//!
//! Each is `None` where the kernel or the board does not tell; none is worth an error.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of one fact's file: all are short, but /proc/meminfo grows with kernels.
const MAX_FILE: u64 = 64 << 10;

/// A board by its `/proc` and `/sys`.
#[derive(Clone, Debug)]
pub struct Board {
    root: PathBuf,
}

/// Memory of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that the kernel has.
    pub total: u64,
    /// Bytes that programs could still get without swapping.
    pub available: u64,
}

/// What tasks wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Pages.
    Memory,
    /// A processor.
    Cpu,
}

/// What a Raspberry Pi's firmware complains about now, or has in the last two seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttled {
    /// The power supply is too weak.
    pub undervoltage: bool,
    /// The clock is held down, by heat or by undervoltage.
    pub slowed: bool,
}

impl Default for Board {
    fn default() -> Self {
        Self::under("/")
    }
}

impl Board {
    /// The board whose `proc` and `sys` are under `root`.
    pub fn under(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// As in the device tree ("Raspberry Pi 4 Model B Rev 1.4"), or a PC's product name.
    pub fn model(&self) -> Option<String> {
        ["proc/device-tree/model", "sys/class/dmi/id/product_name"].iter().find_map(|file| {
            let text = self.read(file)?;
            let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
            (!text.is_empty()).then(|| text.to_owned())
        })
    }

    /// Of the whole board, whatever a cgroup allows.
    pub fn memory(&self) -> Option<Memory> {
        let text = self.read("proc/meminfo")?;
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Memory { total: bytes("MemTotal")?, available: bytes("MemAvailable")? })
    }

    /// Share of the last ten seconds in which some task waited for this, in percent.
    pub fn pressure(&self, resource: Resource) -> Option<f32> {
        let text = self.read(match resource {
            Resource::Memory => "proc/pressure/memory",
            Resource::Cpu => "proc/pressure/cpu",
        })?;
        let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
        let share = some.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?;
        share.parse().ok().filter(|share| (0.0..=100.0).contains(share))
    }

    /// Of the hottest part of the processor, in degrees Celsius; where no zone names it, of the hottest zone.
    pub fn temperature(&self) -> Option<f32> {
        let zones = self.entries("sys/class/thermal", "thermal_zone");
        let named = |zone: &&PathBuf| {
            let kind = self.read(zone.join("type")).unwrap_or_default().to_ascii_lowercase();
            ["cpu", "soc", "x86_pkg_temp"].iter().any(|name| kind.contains(name))
        };
        let hottest = |zones: &mut dyn Iterator<Item = &PathBuf>| {
            zones.filter_map(|zone| self.degrees(&zone.join("temp"))).max_by(f32::total_cmp)
        };
        hottest(&mut zones.iter().filter(named)).or_else(|| hottest(&mut zones.iter()))
    }

    /// From a Raspberry Pi's firmware; `None` on other boards, and where the kernel has no driver for it, as Debian's.
    pub fn throttled(&self) -> Option<Throttled> {
        self.throttled_by_firmware().or_else(|| self.throttled_by_sensor())
    }

    /// As Raspberry Pi's own kernel tells it.
    fn throttled_by_firmware(&self) -> Option<Throttled> {
        const UNDERVOLTAGE: u32 = 1;
        const FREQUENCY_CAPPED: u32 = 1 << 1;
        const THROTTLED: u32 = 1 << 2;
        const SOFT_TEMPERATURE_LIMIT: u32 = 1 << 3;
        // soc/soc:firmware up to a Pi 4; with bus addresses in both names on a Pi 5.
        let text = self
            .entries("sys/devices/platform", "soc")
            .into_iter()
            .flat_map(|soc| self.entries(soc, "soc"))
            .find_map(|device| self.read(device.join("get_throttled")))?;
        let bits = u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()?;
        Some(Throttled {
            undervoltage: bits & UNDERVOLTAGE != 0,
            slowed: bits & (FREQUENCY_CAPPED | THROTTLED | SOFT_TEMPERATURE_LIMIT) != 0,
        })
    }

    /// As mainline's `raspberrypi-hwmon` tells it: undervoltage alone.
    fn throttled_by_sensor(&self) -> Option<Throttled> {
        let sensors = self.entries("sys/class/hwmon", "hwmon");
        let volt = sensors.iter().find(|s| self.read(s.join("name")).is_some_and(|name| name.trim() == "rpi_volt"))?;
        let undervoltage = match self.read(volt.join("in0_lcrit_alarm"))?.trim() {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        Some(Throttled { undervoltage, slowed: false })
    }

    fn degrees(&self, file: &Path) -> Option<f32> {
        /// Sensors that are not connected tell numbers outside of these.
        const PLAUSIBLE_MILLI: std::ops::RangeInclusive<i32> = -50_000..=200_000;
        let milli: i32 = self.read(file)?.trim().parse().ok()?;
        PLAUSIBLE_MILLI.contains(&milli).then_some(milli as f32 / 1000.0)
    }

    /// Entries of a directory with this prefix, relative to the root.
    fn entries(&self, directory: impl AsRef<Path>, prefix: &str) -> Vec<PathBuf> {
        let directory = directory.as_ref();
        let names = fs::read_dir(self.root.join(directory)).into_iter().flatten().flatten();
        names
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| directory.join(entry.file_name()))
            .collect()
    }

    fn read(&self, file: impl AsRef<Path>) -> Option<String> {
        use std::io::Read;
        let mut bytes = Vec::new();
        fs::File::open(self.root.join(file)).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of files that is removed at the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("hal-board-{name}-{}", std::process::id()));
            for (file, content) in files {
                let path = root.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            Self(root)
        }

        fn board(&self) -> Board {
            Board::under(&self.0)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_raspberry_pi_tells_everything() {
        let tree = Tree::new(
            "pi",
            &[
                ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0"),
                ("proc/meminfo", "MemTotal:         948304 kB\nMemFree: 1 kB\nMemAvailable:   501232 kB\n"),
                ("proc/pressure/memory", "some avg10=1.53 avg60=0.87 total=1\nfull avg10=0.50 avg60=0.00 total=1\n"),
                ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
                ("sys/class/thermal/thermal_zone0/temp", "61322\n"),
                ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n"),
            ],
        );
        let board = tree.board();
        assert_eq!(board.model().unwrap(), "Raspberry Pi 4 Model B Rev 1.4");
        assert_eq!(board.memory().unwrap(), Memory { total: 948_304 << 10, available: 501_232 << 10 });
        assert_eq!(board.pressure(Resource::Memory), Some(1.53));
        assert_eq!(board.pressure(Resource::Cpu), None);
        assert_eq!(board.temperature(), Some(61.322));
        assert_eq!(board.throttled(), Some(Throttled { undervoltage: true, slowed: true }));
    }

    #[test]
    fn what_was_and_is_over_is_no_complaint() {
        let file = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled";
        let tree = Tree::new("past", &[(file, "50000\n")]);
        assert_eq!(tree.board().throttled(), Some(Throttled::default()));
    }

    #[test]
    fn mainlines_sensor_tells_of_undervoltage_where_the_firmwares_own_file_is_not() {
        let alarm = |name: &str, alarm: &str| {
            let files = [
                ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
                ("sys/class/hwmon/hwmon0/in0_lcrit_alarm", "0\n"),
                ("sys/class/hwmon/hwmon1/name", "rpi_volt\n"),
                ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", alarm),
            ];
            Tree::new(name, &files).board().throttled()
        };
        assert_eq!(alarm("weak", "1\n"), Some(Throttled { undervoltage: true, slowed: false }));
        assert_eq!(alarm("strong", "0\n"), Some(Throttled::default()));
        assert_eq!(alarm("odd", "x\n"), None);
    }

    #[test]
    fn the_processors_hottest_zone_counts_and_others_only_without_one() {
        let mut files = vec![
            ("sys/class/thermal/thermal_zone0/type", "battery\n"),
            ("sys/class/thermal/thermal_zone0/temp", "90000\n"),
            ("sys/class/thermal/cooling_device0/type", "fan\n"),
        ];
        assert_eq!(Tree::new("battery", &files).board().temperature(), Some(90.0));
        files.extend([
            ("sys/class/thermal/thermal_zone1/type", "soc-thermal\n"),
            ("sys/class/thermal/thermal_zone1/temp", "40000\n"),
            ("sys/class/thermal/thermal_zone2/type", "bigcore0-cpu\n"),
            ("sys/class/thermal/thermal_zone2/temp", "55000\n"),
            ("sys/class/thermal/thermal_zone3/type", "cpu3\n"),
            ("sys/class/thermal/thermal_zone3/temp", "-274000\n"),
        ]);
        assert_eq!(Tree::new("zones", &files).board().temperature(), Some(55.0));
    }

    #[test]
    fn nonsense_and_nothing_are_both_unknown() {
        let nonsense = Tree::new(
            "nonsense",
            &[
                ("proc/device-tree/model", "\0"),
                ("proc/meminfo", "MemTotal: many kB\nMemAvailable: 18446744073709551615 kB\n"),
                ("proc/pressure/memory", "some avg10=NaN\n"),
                ("sys/class/thermal/thermal_zone0/temp", "hot"),
                ("sys/devices/platform/soc/soc:firmware/get_throttled", "xyz"),
            ],
        );
        for board in [nonsense.board(), Board::under("/nowhere")] {
            assert_eq!(board.model(), None);
            assert_eq!(board.memory(), None);
            assert_eq!(board.pressure(Resource::Memory), None);
            assert_eq!(board.temperature(), None);
            assert_eq!(board.throttled(), None);
        }
    }

    #[test]
    fn this_machine_has_memory() {
        let memory = Board::default().memory().unwrap();
        assert!(memory.total >= memory.available && memory.available > 0);
    }
}
