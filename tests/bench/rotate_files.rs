//! Files that are rotated: what each holds generation by generation, and the ways in which it is broken in between.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::unistd::{Gid, Uid, chown, geteuid};

use super::certs::Authority;
use super::temp::TempDir;

/// What is rotated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Material {
    /// API key of the control plane.
    Key,
    /// Header of the MCP server.
    Header,
    /// Client certificate for the control plane.
    PlanePair,
    /// Client certificate for the MCP server.
    McpPair,
    /// Authorities that both peers are checked against.
    Bundle,
}

pub const MATERIALS: [Material; 5] =
    [Material::Key, Material::Header, Material::PlanePair, Material::McpPair, Material::Bundle];

/// What may be the matter with a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flaw {
    Empty,
    /// Cut off within what it should hold.
    Half,
    /// The key of another certificate.
    OtherKey,
    /// Other content, whole, of a user that nobody trusts.
    WrongOwner,
    Gone,
}

pub const FLAWS: [Flaw; 5] = [Flaw::Empty, Flaw::Half, Flaw::OtherKey, Flaw::WrongOwner, Flaw::Gone];

/// A user of nobody's.
const STRANGER: u32 = 54_321;

/// The directory of all of them.
pub struct Files {
    directory: TempDir,
    /// An authority that nobody trusts.
    stranger: Authority,
}

/// Texts of the files of one generation, beside their names.
pub type Texts = Vec<(&'static str, String)>;

pub fn key(generation: usize) -> String {
    format!("sk-rotate-{generation:06}-0123456789abcdef")
}

pub fn header(generation: usize) -> String {
    format!("rotated-{generation:06}")
}

/// The generation of a text that was made by one of the two.
pub fn generation(text: &str, of: fn(usize) -> String) -> Option<usize> {
    let found = text.split('-').find_map(|part| part.parse().ok())?;
    (of(found) == text).then_some(found)
}

impl Files {
    pub fn new() -> Files {
        Files { directory: TempDir::new(), stranger: Authority::new("stranger") }
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Puts the right texts in place: by rename, or written over what stands there.
    pub fn put(&self, texts: &Texts, by_rename: bool) {
        for (name, text) in texts {
            self.write(name, text.as_bytes(), by_rename, geteuid());
        }
    }

    /// Breaks the files that are about to hold these texts. `turn` chooses among those of a pair.
    pub fn spoil(&self, material: Material, flaw: Flaw, texts: &Texts, turn: usize) {
        let (name, text) = &texts[turn % texts.len()];
        let is_pair = texts.len() == 2;
        match flaw {
            Flaw::Gone => drop(fs::remove_file(self.directory.join(name))),
            // Nothing tells half a header from a whole one. A key is refused by the plane.
            Flaw::Half if material != Material::Header => {
                self.write(name, &text.as_bytes()[..text.len() * 7 / 10], turn % 2 == 0, geteuid());
            }
            Flaw::OtherKey if is_pair => {
                let (name, _) = &texts[1];
                self.write(name, self.strange_pair(texts)[1].1.as_bytes(), true, geteuid());
            }
            // Authorities are no secret, so whoever may write them is trusted with them.
            Flaw::WrongOwner if material != Material::Bundle && geteuid().is_root() => {
                let strange = if is_pair {
                    self.strange_pair(texts)
                } else {
                    vec![(*name, "sk-of-a-stranger-0123456789".to_owned())]
                };
                for (name, text) in &strange {
                    self.write(name, text.as_bytes(), true, Uid::from_raw(STRANGER));
                }
            }
            _ => self.write(name, b"", false, geteuid()),
        }
    }

    fn strange_pair(&self, texts: &Texts) -> Texts {
        let (certificate, key) = pair(&self.stranger, "stranger");
        vec![(texts[0].0, certificate), (texts[1].0, key)]
    }

    fn write(&self, name: &str, bytes: &[u8], by_rename: bool, owner: Uid) {
        let path = self.directory.join(name);
        let place = if by_rename { self.directory.join("new") } else { path.clone() };
        fs::write(&place, bytes).expect("a writable temporary directory");
        fs::set_permissions(&place, fs::Permissions::from_mode(0o600)).expect("a file of ours");
        own(&place, owner);
        if by_rename {
            fs::rename(&place, &path).expect("the same directory");
        }
    }
}

fn own(path: &Path, owner: Uid) {
    // Only root gives files away, and takes them back.
    if geteuid().is_root() {
        chown(path, Some(owner), Some(Gid::from_raw(0))).expect("a file of ours");
    }
}

/// Texts of a client certificate and its key.
pub fn pair(authority: &Authority, name: &str) -> (String, String) {
    let files = authority.client(name);
    let text = |path: &str| fs::read_to_string(path).expect("a file that was just written");
    (text(&files.certificate), text(&files.key))
}
