//! What is found, as files: `files/<first four of the id>/<id>` and `manifest.json`, which says what each of them is. Keys
//! never become names of files. A file is there whole or not at all, so an earlier run is gone on with.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use store::DeploymentId;
use store::salvage::{Found, Report, Salvage};

use super::{Taker, manifest};

const MANIFEST: &str = "manifest.json";
/// Names the deployment of which the files are.
const ORIGIN: &str = "hafiz-recover";
const FILES: &str = "files";
/// Ends the name of a file in which bytes are missing: they are zero there.
const PARTIAL: &str = ".partial";
/// Letters of an id that name its folder.
const FOLDER_LETTERS: usize = 4;

pub(super) struct Folder {
    dir: PathBuf,
    manifest: BufWriter<File>,
    entries: u64,
}

impl Folder {
    /// Errors: the directory is in one of the drives, or holds anything but what an earlier run left of this deployment.
    pub(super) fn open(dir: &Path, drives: &[PathBuf], deployment: DeploymentId) -> Result<Folder, String> {
        let fail = |error: io::Error| format!("{}: {error}", dir.display());
        let origin = format!("{deployment}\n");
        refuse_drives(dir, drives)?;
        fs::create_dir_all(dir).map_err(fail)?;
        match fs::read_to_string(dir.join(ORIGIN)) {
            Ok(there) if there == origin => {}
            Ok(_) => return Err(format!("{} holds what was recovered of another deployment", dir.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if fs::read_dir(dir).map_err(fail)?.next().is_some() {
                    return Err(format!("{} is not empty, and no earlier run wrote it", dir.display()));
                }
                fs::write(dir.join(ORIGIN), origin).map_err(fail)?;
            }
            Err(error) => return Err(fail(error)),
        }
        let mut manifest = BufWriter::new(File::create(dir.join(aside(MANIFEST))).map_err(fail)?);
        manifest.write_all(b"{\"found\": [").map_err(fail)?;
        Ok(Folder { dir: dir.to_owned(), manifest, entries: 0 })
    }
}

fn aside(name: &str) -> String {
    format!("{name}.new")
}

/// Nothing is written on a drive that data is recovered from.
fn refuse_drives(dir: &Path, drives: &[PathBuf]) -> Result<(), String> {
    let dir = std::path::absolute(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    // The deepest part that is there says where it really is.
    let there = dir.ancestors().find_map(|part| Some((part.canonicalize().ok()?, part)));
    let real = there.map_or(dir.clone(), |(real, part)| real.join(dir.strip_prefix(part).unwrap_or(Path::new(""))));
    match drives.iter().filter_map(|drive| drive.canonicalize().ok()).find(|drive| real.starts_with(drive)) {
        Some(drive) => {
            Err(format!("{} lies on the drive {}: give a directory elsewhere", dir.display(), drive.display()))
        }
        None => Ok(()),
    }
}

/// Where the bytes of something are put, below the directory. What is not whole may be so in a later run, with more drives.
fn name(found: &Found) -> String {
    let ending = if found.is_whole() { "" } else { PARTIAL };
    format!("{FILES}/{}/{}{ending}", &found.id[..FOLDER_LETTERS], found.id)
}

impl Taker for Folder {
    fn take(&mut self, salvage: &Salvage, found: &Found) -> io::Result<()> {
        let name = name(found);
        let path = self.dir.join(&name);
        // What is whole is the same in every run.
        let is_there = found.is_whole() && fs::metadata(&path).is_ok_and(|there| there.len() == found.size);
        if !is_there {
            write(salvage, found, &path)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        }
        let separator = if self.entries == 0 { "\n" } else { ",\n" };
        write!(self.manifest, "{separator}{}", manifest::entry(found, &name))?;
        self.entries += 1;
        Ok(())
    }

    fn finish(&mut self, report: &Report) -> io::Result<()> {
        write!(self.manifest, "\n],\n\"report\": {}}}\n", manifest::report(report))?;
        self.manifest.flush()?;
        self.manifest.get_ref().sync_all()?;
        fs::rename(self.dir.join(aside(MANIFEST)), self.dir.join(MANIFEST))?;
        File::open(&self.dir)?.sync_all()
    }
}

fn write(salvage: &Salvage, found: &Found, path: &Path) -> io::Result<()> {
    let folder = path.parent().expect("a file lies in a folder");
    fs::create_dir_all(folder)?;
    let new = folder.join(aside(&found.id));
    let mut file = File::create(&new)?;
    salvage.read(found, &mut |bytes| file.write_all(bytes))?;
    if let Some(modified) = found.modified {
        file.set_modified(UNIX_EPOCH + Duration::from_nanos(modified.0))?;
    }
    file.sync_all()?;
    fs::rename(new, path)?;
    if !found.is_whole() {
        return Ok(());
    }
    // An earlier run may have had it in part.
    match fs::remove_file(folder.join(format!("{}{PARTIAL}", found.id))) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
