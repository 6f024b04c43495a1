//! Row of the table of settings: its columns, and the forms that a value may have.

/// A line a setting: its flag, a colon, what it means.
const HELP: &str = include_str!("settings.txt");

/// Setting.
#[derive(Clone, Copy)]
pub struct Row {
    /// Flag name without dashes; also the name of the setting in texts.
    pub flag: &'static str,
    /// Older flag name that still works but is not listed; empty: none.
    pub alias: &'static str,
    /// Environment variables, the first one first; empty: none.
    pub env: &'static [&'static str],
    /// Dotted path in a YAML file; empty: none.
    pub yaml: &'static str,
    /// Form of a value.
    pub kind: Kind,
    /// Stands for the value in help texts; empty for booleans.
    pub placeholder: &'static str,
    /// The default as it would be typed; empty: none.
    pub default: &'static str,
    /// Meaning of an option of one command; that of a setting stands in `settings.txt`.
    help: &'static str,
    /// Effect of the setting in this program.
    pub status: Status,
    /// The cargo feature whose code reads it; `None` for what every build reads.
    pub feature: Option<Feature>,
    /// In YAML the value may be an `env:` or `file:` reference.
    pub reference: bool,
    /// A variable that is set but empty counts as an empty value and not as none.
    pub empty_counts: bool,
}

/// Form of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A path, or a reference that yields one.
    Path,
    /// A proxy URL, or a reference that yields one.
    Proxy,
    /// A secret.
    Secret,
    /// True or false.
    Boolean,
    /// An integer between two bounds.
    Integer {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// A duration with a least value.
    Duration(Least),
    /// `Name: value` items; a map in YAML.
    Headers,
    /// Texts; one string holds several, separated by one of these characters.
    List(&'static [char]),
    /// Structure that the section reads, which only a file can hold.
    Tree,
    /// `key=value` items; maps with these keys in YAML.
    Entries {
        /// Separators in the environment.
        separators: &'static [char],
        /// Keys of a YAML entry.
        keys: &'static [Key],
    },
}

/// Key of an entry in YAML.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Form of its value.
    pub shape: Shape,
    /// Whether an entry without it is refused.
    pub required: bool,
}

/// Form of the value of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Text as it is.
    Text,
    /// Text, or a reference to it.
    Value,
    /// The same for a command; or a list of its arguments, which stand for themselves.
    Command,
    /// Structure that the section reads.
    Tree,
    /// A path or a proxy, or a reference to one that is resolved by the section.
    Place,
    /// List of texts.
    List,
    /// List of texts that names at least one: an empty one would allow everything.
    Restriction,
    /// Map of texts, each of which may be a reference.
    Map,
}

/// The least duration.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Least {
    /// Anything longer than none.
    AboveZero,
    /// None, or longer.
    Zero,
}

/// Effect of a setting in this program. Rows without one exist because profiles
/// and units were written for the reference client, and are to be told what does not apply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is read and used.
    Live,
    /// Its feature is not there yet: the setting is accepted while it leaves the feature off or merely tunes it.
    Absent,
    /// Its feature will not come: the setting is refused.
    Never,
}

/// Cargo feature that reads settings of its own.
#[derive(Clone, Copy)]
pub struct Feature {
    /// Its name for people.
    pub name: &'static str,
    /// Whether this build has it.
    pub is_built: bool,
}

/// Servers for trying things out.
pub(super) const DEV: Feature =
    Feature { name: "stub server (feature dev)", is_built: cfg!(feature = "dev") };

/// Endpoints that the product may call by name.
pub(super) const HARPOON: Feature =
    Feature { name: "Harpoon (feature harpoon)", is_built: cfg!(feature = "harpoon") };

/// What the listener's page shows of them.
pub(super) const HARPOON_PAGE: Feature = Feature {
    name: "page of Harpoon (features harpoon and page)",
    is_built: cfg!(all(feature = "harpoon", feature = "page")),
};

/// Limits that the process sets itself.
pub(super) const CAGE: Feature = Feature { name: "cage (feature cage)", is_built: cfg!(feature = "cage") };

/// The listener's page.
pub(super) const PAGE: Feature = Feature { name: "page (feature page)", is_built: cfg!(feature = "page") };

impl Row {
    /// Tells whether the flag may be given more than once.
    pub fn repeatable(&self) -> bool {
        matches!(self.kind, Kind::Headers | Kind::List(_) | Kind::Entries { .. })
    }

    /// Its meaning: one sentence without a full stop.
    pub fn help(&self) -> &'static str {
        let of_setting = || HELP.lines().find_map(|line| line.strip_prefix(self.flag)?.strip_prefix(": "));
        if self.help.is_empty() { of_setting().unwrap_or_default() } else { self.help }
    }

    /// Tells whether the setting has an effect in this build.
    pub fn is_live(&self) -> bool {
        self.status == Status::Live && self.feature.is_none_or(|feature| feature.is_built)
    }

    /// An option of one command, which neither a variable nor a file can set.
    #[cfg(feature = "operator")]
    pub(crate) const fn option(
        flag: &'static str,
        kind: Kind,
        placeholder: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Row {
        Row { help, ..new(flag, &[], "", kind, placeholder, default) }
    }

    /// Also accepts an older flag name.
    pub(super) const fn alias(mut self, alias: &'static str) -> Row {
        self.alias = alias;
        self
    }

    /// Allows a reference in YAML.
    pub(super) const fn reference(mut self) -> Row {
        self.reference = true;
        self
    }

    /// Lets a set-but-empty variable count.
    pub(super) const fn empty_counts(mut self) -> Row {
        self.empty_counts = true;
        self
    }

    /// Names the feature whose code reads it.
    pub(super) const fn feature(mut self, feature: Feature) -> Row {
        self.feature = Some(feature);
        self
    }

    /// Marks a setting that has no effect.
    pub(super) const fn status(mut self, status: Status) -> Row {
        self.status = status;
        // What is not supported is refused however it is mentioned.
        self.empty_counts |= matches!(status, Status::Never);
        self
    }
}

/// A row in the order in which a reader looks: names, form, default.
pub(super) const fn new(
    flag: &'static str,
    env: &'static [&'static str],
    yaml: &'static str,
    kind: Kind,
    placeholder: &'static str,
    default: &'static str,
) -> Row {
    let (alias, help, status, feature) = ("", "", Status::Live, None);
    let (reference, empty_counts) = (false, false);
    Row { flag, alias, env, yaml, kind, placeholder, default, help, status, feature, reference, empty_counts }
}

/// A key of an entry that may be left out.
pub(super) const fn key(name: &'static str, shape: Shape) -> Key {
    Key { name, shape, required: false }
}

/// A key that every entry has.
pub(super) const fn required(name: &'static str, shape: Shape) -> Key {
    Key { name, shape, required: true }
}
