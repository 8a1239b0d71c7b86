//! Names in a job, on a board whose resolver changes.

use super::agents::{Agents, SOON};
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::Path;
use tests::namespace;
use tests::worker::Setup;

/// What the job looks up.
const HOST: &str = "relay.test";

/// A server of names at this address, to which every host is at `is`.
pub fn serve(at: Ipv4Addr, is: Ipv4Addr) {
    /// Bytes of a header: identity, flags, and four counts.
    const HEADER: usize = 12;
    let socket = UdpSocket::bind((at, 53)).expect("a network of our own");
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            // One name, its labels ended by an empty one, then type and class; what follows is an extension.
            let name = packet[HEADER..length].iter().position(|byte| *byte == 0).expect("a name");
            let end = HEADER + name + 5;
            let is_a = packet[end - 3] == 1;
            let mut answer = packet[..end].to_vec();
            // An answer, by recursion; one question, and an answer if it is for IPv4.
            answer[2..HEADER].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
            if is_a {
                // For the name at the end of the header: A, IN, good for no time, four bytes.
                answer.extend([0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                answer.extend(is.octets());
            }
            socket.send_to(&answer, from).expect("loopback");
        }
    });
}

/// As those do it who keep such files: whole, by a rename.
pub fn replace(path: &str, server: Ipv4Addr) {
    let fresh = Path::new(path).with_extension("new");
    let text = format!("nameserver {server}\n");
    fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, path)).expect("a board of ours");
}

#[test]
fn names_resolve_in_a_running_job_though_the_file_that_says_by_whom_is_replaced() {
    let name = "names::names_resolve_in_a_running_job_though_the_file_that_says_by_whom_is_replaced";
    namespace::with_names_of_its_own(name, || {
        let [resolved, of_another_network, of_a_manager, in_a_link] = [2, 3, 4, 5].map(|n| Ipv4Addr::new(127, 0, 0, n));
        let answers = [1, 2, 3, 4].map(|n| Ipv4Addr::new(192, 0, 2, n));
        for (server, answer) in [resolved, of_another_network, of_a_manager, in_a_link].into_iter().zip(answers) {
            serve(server, answer);
        }
        // As systemd-resolved has it.
        fs::create_dir_all("/run/systemd/resolve").expect("a /run of ours");
        replace("/run/systemd/resolve/stub-resolv.conf", resolved);
        symlink("../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf").expect("an /etc of ours");
        // NetworkManager has its own beside it.
        fs::create_dir_all("/run/NetworkManager").expect("a /run of ours");
        replace("/run/NetworkManager/resolv.conf", in_a_link);
        let agents = Agents::listen();
        let worker = Setup::with_url(&agents.url()).binary(env!("CARGO_BIN_EXE_participant").into()).launch();
        let (mut connection, _) = agents.registered();
        connection.run_job_with("AJ_1", "studio", &format!("look-up {HOST}"));
        let finds = |answer: Ipv4Addr| drop(worker.wait_log(&format!("job AJ_1: {HOST}: Ok(Some({answer}))"), SOON));
        finds(answers[0]);
        replace("/run/systemd/resolve/stub-resolv.conf", of_another_network);
        finds(answers[1]);
        // In the place of the link, as a network manager does that takes over.
        replace("/etc/resolv.conf", of_a_manager);
        finds(answers[2]);
        // Or one to the file that it keeps.
        symlink("../run/NetworkManager/resolv.conf", "/etc/resolv.conf.link")
            .and_then(|()| fs::rename("/etc/resolv.conf.link", "/etc/resolv.conf"))
            .expect("an /etc of ours");
        finds(answers[3]);
    });
}
