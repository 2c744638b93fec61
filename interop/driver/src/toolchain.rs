//! Fetching and building what the scenarios need, once, into a cache outside the repository.
//!
//! Versions are pinned by the pom.xml and go.mod files under `interop/`. The cache is `$FERROMQ_JAVA_CACHE`, by default
//! `~/.cache/ferromq-java`; what is in it is keyed by a hash of what it was made from, so it never goes stale.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::server::Jvm;

/// Which Java client a program runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JavaClient {
    V5,
    V4,
}

impl JavaClient {
    /// The folder of its pom.xml and the name of its folder in the cache.
    fn project(self) -> (&'static str, &'static str) {
        match self {
            Self::V5 => ("java/server", "server-5.5.0"),
            Self::V4 => ("java/client-4.9.8", "client-4.9.8"),
        }
    }
}

/// Everything fetched and built.
#[derive(Debug)]
pub struct Toolchain {
    /// The root of the repository.
    root: PathBuf,
    cache: PathBuf,
    binary: Option<PathBuf>,
}

/// What the JDK hides from the broker by default.
const OPENS: [&str; 7] = [
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-exports=java.base/sun.security.x509=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
];

/// A program that has to be installed, and the Debian package that has it.
const NEEDED: [(&str, &str, &str); 5] = [
    ("java", "-version", "openjdk-17-jdk-headless"),
    ("javac", "-version", "openjdk-17-jdk-headless"),
    ("mvn", "-version", "maven"),
    ("go", "version", "golang"),
    ("python3", "--version", "python3"),
];

/// Names the packages of what is not installed; empty if nothing is missing.
pub fn missing() -> Vec<String> {
    let runs = |program: &str, argument: &str| {
        Command::new(program)
            .arg(argument)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    NEEDED
        .iter()
        .filter(|(program, argument, _)| !runs(program, argument))
        .map(|(program, _, package)| format!("{program} (apt-get install {package})"))
        .collect()
}

impl Toolchain {
    /// `root` is the repository; `binary` the `ferromq` to test, if there is one.
    pub fn new(root: &Path, binary: Option<PathBuf>) -> Result<Self> {
        let cache = match std::env::var_os("FERROMQ_JAVA_CACHE") {
            Some(dir) => PathBuf::from(dir),
            None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?)
                .join(".cache/ferromq-java"),
        };
        Ok(Self { root: root.to_owned(), cache, binary })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn interop(&self) -> PathBuf {
        self.root.join("interop")
    }

    pub fn ferromq(&self) -> Result<&Path> {
        self.binary.as_deref().context("no ferromq binary was given")
    }

    /// Downloads and builds whatever is not there yet.
    pub fn fetch(&self) -> Result<()> {
        let missing = missing();
        ensure!(missing.is_empty(), "not installed: {}", missing.join(", "));
        for client in [JavaClient::V5, JavaClient::V4] {
            self.fetch_java(client)?;
            self.build_java("scenarios", client)?;
        }
        self.build_java("mqadmin", JavaClient::V5)?;
        self.build_java("roundtrip", JavaClient::V5)?;
        self.build_go("go")?;
        for (program, version) in
            [("java-remoting", "5.5.0"), ("java-remoting", "4.9.8"), ("go-remoting", "")]
        {
            run(self.smoke(program, version).env("BUILD_ONLY", "1"))
                .with_context(|| format!("build {program}"))?;
        }
        Ok(())
    }

    /// A smoke program; it builds itself into the cache.
    pub fn smoke(&self, program: &str, version: &str) -> Command {
        let mut command = Command::new(self.interop().join("smoke").join(program).join("run.sh"));
        command.env("INTEROP_CACHE", self.cache.join("smoke"));
        if !version.is_empty() {
            command.env("CLIENT_VERSION", version);
        }
        command
    }

    /// Builds the Go program in `interop/<folder>`; Go's own cache makes repetition cheap.
    pub fn build_go(&self, folder: &str) -> Result<PathBuf> {
        let binary = self.cache.join("bin").join(folder);
        run(Command::new("go")
            .args(["build", "-o"])
            .arg(&binary)
            .arg(".")
            .current_dir(self.interop().join(folder)))
        .with_context(|| format!("build interop/{folder}"))?;
        Ok(binary)
    }

    /// Only the Java server, tools and client.
    pub fn fetch_java(&self, client: JavaClient) -> Result<()> {
        let (project, name) = client.project();
        let pom = self.interop().join(project).join("pom.xml");
        let stamp = self.cache.join(name).join(format!("fetched-{:016x}", hash(&[&pom])?));
        if stamp.exists() {
            return Ok(());
        }
        let dir = self.cache.join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(dir.join("lib"))?;
        run(Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(&pom)
            .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
            .arg(format!("-DoutputDirectory={}", dir.join("lib").display())))
        .context("fetch through Maven")?;
        fs::write(stamp, "")?;
        Ok(())
    }

    fn lib(&self, client: JavaClient) -> PathBuf {
        self.cache.join(client.project().1).join("lib")
    }

    /// Compiles the sources in `interop/java/<folder>` against a client; returns the folder of the classes.
    pub fn build_java(&self, folder: &str, client: JavaClient) -> Result<PathBuf> {
        let mut sources = Vec::new();
        for entry in fs::read_dir(self.interop().join("java").join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "java") {
                sources.push(path);
            }
        }
        sources.sort();
        let inputs: Vec<&Path> = sources.iter().map(PathBuf::as_path).collect();
        let classes = self.cache.join("classes").join(format!(
            "{folder}-{}-{:016x}",
            client.project().1,
            hash(&inputs)?
        ));
        if classes.join("built").exists() {
            return Ok(classes);
        }
        fs::create_dir_all(&classes)?;
        run(Command::new("javac")
            .args(["-nowarn", "-Xlint:-deprecation", "-encoding", "UTF-8", "-d"])
            .arg(&classes)
            .arg("-cp")
            .arg(self.lib(client).join("*"))
            .args(&sources))
        .with_context(|| format!("compile interop/java/{folder}"))?;
        fs::write(classes.join("built"), "")?;
        Ok(classes)
    }

    /// A JVM with the server's class path, for a main class that the caller names.
    pub fn java_server(&self, jvm: &Jvm, home: &Path) -> Command {
        let mut command = Command::new("java");
        match jvm {
            Jvm::Small => command.args([
                "-Xms64m",
                "-Xmx512m",
                "-XX:MaxDirectMemorySize=256m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
            ]),
            Jvm::Measured { heap_mib } => command.args([
                format!("-Xms{heap_mib}m"),
                format!("-Xmx{heap_mib}m"),
                "-XX:+UseG1GC".to_owned(),
                "-XX:G1HeapRegionSize=16m".to_owned(),
                "-XX:G1ReservePercent=25".to_owned(),
                "-XX:InitiatingHeapOccupancyPercent=30".to_owned(),
                "-XX:MaxDirectMemorySize=15g".to_owned(),
                "-XX:-UseLargePages".to_owned(),
            ]),
        };
        command.args(OPENS).arg(format!("-Duser.home={}", home.display())).arg("-Duser.timezone=UTC");
        command.arg("-cp").arg(self.lib(JavaClient::V5).join("*"));
        command
    }

    /// A JVM for a client program compiled by [`Self::build_java`].
    pub fn java_client(&self, classes: &Path, client: JavaClient, home: &Path) -> Command {
        let mut command = Command::new("java");
        command
            .args(["-Xms32m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(OPENS)
            .arg(format!("-Duser.home={}", home.display()))
            .arg(format!("-Drocketmq.client.logRoot={}", home.join("logs").display()))
            .arg("-cp")
            .arg(format!("{}:{}", classes.display(), self.lib(client).join("*").display()));
        command
    }
}

/// Runs a command to its end; its output becomes the message when it fails.
fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// A number for the contents of files.
fn hash(files: &[&Path]) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for file in files {
        fs::read(file).with_context(|| file.display().to_string())?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}
