//! Unpacks a store of `tests/fixtures/java-5.5.0` and its manifest.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferromq_store::clock::SystemClock;
use ferromq_store::disk::RealDisk;
use ferromq_store::{Environment, Store, StoreConfig};
use serde_json::Value;

/// A copy of a store in a scratch directory.
pub(crate) struct Fixture {
    pub(crate) manifest: Value,
    pub(crate) root: PathBuf,
    index_entries: u32,
    _scratch: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn unpack(name: &str) -> Self {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/java-5.5.0");
        let packed = |suffix: &str| {
            let file = fs::File::open(fixtures.join(format!("{name}.{suffix}"))).unwrap();
            zstd::Decoder::new(file).unwrap()
        };
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("store");
        tar::Archive::new(packed("tar.zst")).unpack(&root).unwrap();
        put_noise_back(&root, &fixtures.join(format!("{name}.noise.json")));
        let mut manifest = String::new();
        packed("manifest.json.zst").read_to_string(&mut manifest).unwrap();
        let fixture = Self {
            manifest: serde_json::from_str(&manifest).unwrap(),
            root,
            index_entries: if name == "crash-checkpoint" { 2_000 } else { 20_000 },
            _scratch: scratch,
        };
        fixture.check_unpacked();
        fixture
    }

    /// The copy is what Java left, to the last byte.
    fn check_unpacked(&self) {
        for (name, expected) in self.manifest["files"].as_object().unwrap() {
            let bytes = fs::read(self.root.join(name)).unwrap();
            assert_eq!(bytes.len() as u64, expected["size"].as_u64().unwrap(), "{name}");
            let crc = format!("{:08x}", crc32fast::hash(&bytes));
            assert_eq!(crc, expected["crc32"].as_str().unwrap(), "{name}");
        }
    }

    pub(crate) fn config(&self) -> StoreConfig {
        StoreConfig {
            segment_size: 1 << 20,
            queue_file_size: 6_000,
            index_slots: 5_000,
            index_entries: self.index_entries,
            ring_bytes: 1 << 20,
            ..StoreConfig::at(&self.root)
        }
    }

    pub(crate) fn open(&self) -> Store {
        let environment =
            Environment { disk: Arc::new(RealDisk::default()), clock: Arc::new(SystemClock::default()) };
        Store::open(self.config(), environment).unwrap()
    }

    /// CRC of every file below one of these places.
    pub(crate) fn checksums(&self, places: &[&str]) -> BTreeMap<PathBuf, u32> {
        let mut sums = BTreeMap::new();
        let mut open: Vec<PathBuf> = places.iter().map(|place| self.root.join(place)).collect();
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path.exists() {
                sums.insert(path.clone(), crc32fast::hash(&fs::read(&path).unwrap()));
            }
        }
        sums
    }
}

/// See `pack.py`: bodies that `java.util.Random` made.
fn put_noise_back(root: &Path, list: &Path) {
    let noise: Vec<(String, u64, usize, u64)> = serde_json::from_slice(&fs::read(list).unwrap()).unwrap();
    for (file, at, len, mut state) in noise {
        let mut body = Vec::with_capacity(len + 4);
        while body.len() < len {
            state = state.wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xb) & ((1 << 48) - 1);
            body.extend_from_slice(&u32::try_from(state >> 16 & 0xffff_ffff).unwrap().to_le_bytes());
        }
        let file = fs::File::options().write(true).open(root.join(file)).unwrap();
        file.write_all_at(&body[..len], at).unwrap();
    }
}
