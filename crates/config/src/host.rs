//! Facts about this machine that defaults depend on, gathered once so that tests can make them up.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::address;

/// What built-in defaults are computed from.
#[derive(Clone, Debug)]
pub struct Host {
    /// Processors this process may use.
    pub processors: usize,
    /// Name of the machine: the default broker name.
    pub name: String,
    /// Home directory of the user: base of Java's default paths.
    pub home: PathBuf,
    /// Address other machines would use, as Java chooses it.
    pub address: IpAddr,
    /// True inside a container, where a mapped port hides the chosen address.
    pub in_container: bool,
}

impl Host {
    /// Looks at the machine. Nothing here fails: what cannot be found gets the value Java falls back to.
    pub fn detect() -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            name: if name.is_empty() { "DEFAULT_BROKER".to_owned() } else { name },
            home: std::env::home_dir()
                .filter(|home| home.is_absolute())
                .unwrap_or_else(|| PathBuf::from("/")),
            address: address::choose(&address::candidates()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            in_container: ["/.dockerenv", "/run/.containerenv"]
                .iter()
                .any(|marker| std::path::Path::new(marker).exists()),
        }
    }

    /// `<home>/<name>` as text for a default.
    pub(crate) fn under_home(&self, name: &str) -> String {
        self.home.join(name).to_string_lossy().into_owned()
    }

    /// A machine for tests: 2 processors, `vm`, `/home/u`, 192.0.2.2.
    #[doc(hidden)]
    pub fn fictitious() -> Self {
        Self {
            processors: 2,
            name: "vm".to_owned(),
            home: PathBuf::from("/home/u"),
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
            in_container: false,
        }
    }
}
