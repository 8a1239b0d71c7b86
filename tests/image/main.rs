//! Images as they are flashed: what is in them, and that each board starts from its card through U-Boot, on an emulated
//! board.

mod contents;
mod hang;
mod media;
mod modules;
mod raspberry;
mod recording;
mod release;
mod rpi_os;
mod rule;
mod secure;
mod stuck;
mod update;
mod virt;
mod warnings;
mod wifi;

/// Where images/build/disk.sh puts the kernels and roots of the two slots, and the data partition behind them, bytes.
const KERNELS: [u64; 2] = [53 << 20, 183 << 20];
const ROOTS: [u64; 2] = [86 << 20, 216 << 20];
const DATA: u64 = 312 << 20;

/// What a board is told so that others get an address from it on this interface, and where to ask for the time
/// (systemd.network(5)).
fn serve_addresses(interface: &str, time_server: &str) -> String {
    let network = format!("[Match]\\nName={interface}\\n[Network]\\nAddress=198.51.100.1/24\\nDHCPServer=yes\\n");
    // The image has no service that keeps leases.
    let server = format!("[DHCPServer]\\nPersistLeases=no\\nEmitRouter=no\\nEmitDNS=no\\nNTP={time_server}\\n");
    let folder = "/run/systemd/network";
    format!("mkdir -p {folder} && printf '{network}{server}' >{folder}/10-server.network")
}
