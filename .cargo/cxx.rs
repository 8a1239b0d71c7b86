//! Links the C++ library of openh264 into programs where the workspace keeps the shared one out (config.toml beside this).

fn main() {
    println!("cargo:rerun-if-env-changed=CXXSTDLIB");
    if std::env::var_os("CXXSTDLIB").is_some_and(|library| library.is_empty()) {
        println!("cargo:rustc-link-arg=-l:libstdc++.a");
        // Its atomics on 64-bit ARM.
        println!("cargo:rustc-link-arg=-lgcc");
    }
}
