//! Published weights of the Hugging Face hub: out of the cache of its own tools, or downloaded into it.

use crate::fetch;
use anyhow::{Result, bail, ensure};
use std::ffi::OsString;
use std::fmt::{Display, Formatter};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What stands in front of a file of the hub, in place of a path.
pub const SCHEME: &str = "hub:";

/// A file of the hub. As text `hub:ORG/NAME`, which is `model.safetensors`, or `hub:ORG/NAME/FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    /// `ORG/NAME`.
    pub repo: String,
    /// Its path there.
    pub file: String,
}

impl HubFile {
    /// Where the file is on this machine: in the cache, or after a download into it. A `config.json` in the same folder
    /// of the hub then is beside it.
    ///
    /// The cache is `$HF_HUB_CACHE`, `$HUGGINGFACE_HUB_CACHE`, `$HF_HOME/hub`, `$XDG_CACHE_HOME/huggingface/hub` or
    /// `~/.cache/huggingface/hub`, the first that is set. `$HF_ENDPOINT` is the address of the hub, and with
    /// `HF_HUB_OFFLINE=1` nothing is downloaded.
    ///
    /// # Errors
    /// If the file is in no cache and cannot be downloaded, or must not be: with what was looked for, and where.
    pub fn path(&self) -> Result<PathBuf> {
        let (cache, offline) = (cache(|name| std::env::var_os(name))?, is_offline(std::env::var_os("HF_HUB_OFFLINE")));
        if let Some(path) = self.cached(&cache) {
            return Ok(path);
        }
        ensure!(!offline, "{}; HF_HUB_OFFLINE is set, so it is not downloaded", self.absent(&cache));
        let absolute = std::path::absolute(&cache)?;
        let arguments = ["weights".as_ref(), self.repo.as_ref(), self.file.as_ref(), "--cache-dir".as_ref()];
        fetch::run(
            &[&arguments[..], &[absolute.as_os_str()]].concat(),
            &self.to_string(),
            "a path names a file of yours",
        )?;
        match self.cached(&cache) {
            Some(path) => Ok(path),
            None => bail!("{}, after its download", self.absent(&cache)),
        }
    }

    /// The file in `cache`, at the commit of its branch `main`.
    fn cached(&self, cache: &Path) -> Option<PathBuf> {
        let folder = self.folder(cache);
        let commit = std::fs::read_to_string(folder.join("refs/main")).ok()?;
        let commit = commit.trim();
        let is_commit = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let path = folder.join("snapshots").join(commit).join(&self.file);
        (is_commit && path.is_file()).then_some(path)
    }

    fn folder(&self, cache: &Path) -> PathBuf {
        cache.join(format!("models--{}", self.repo.replace('/', "--")))
    }

    fn absent(&self, cache: &Path) -> String {
        format!("{self} is not in the cache: there is no {} in {}", self.file, self.folder(cache).display())
    }
}

/// The cache of the hub's own tools, by the variables of the environment.
fn cache(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let places = [
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
        ("XDG_CACHE_HOME", "huggingface/hub"),
        ("HOME", ".cache/huggingface/hub"),
        ("USERPROFILE", ".cache/huggingface/hub"),
    ];
    match places.iter().find_map(|(name, below)| Some((set(name)?, below))) {
        Some((folder, &"")) => Ok(folder),
        Some((folder, below)) => Ok(folder.join(below)),
        None => bail!("there is no cache for files of the hub: expected a folder in HF_HUB_CACHE"),
    }
}

/// As the hub's own tools read the variable.
fn is_offline(variable: Option<OsString>) -> bool {
    variable.is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_string_lossy().to_uppercase().as_str()))
}

impl FromStr for HubFile {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_name = |part: &&str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed)
        };
        let parts: Vec<&str> = text.strip_prefix(SCHEME).unwrap_or_default().split('/').collect();
        match parts.as_slice() {
            [org, name, file @ ..] if parts.iter().all(is_name) => Ok(Self {
                repo: format!("{org}/{name}"),
                file: if file.is_empty() { "model.safetensors".to_owned() } else { file.join("/") },
            }),
            _ => bail!(
                "{text:?} is no file of the hub; expected {SCHEME}ORG/NAME or {SCHEME}ORG/NAME/FILE, as \
                 {SCHEME}timm/vit_base_patch16_224.augreg_in21k_ft_in1k"
            ),
        }
    }
}

impl Display for HubFile {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.repo, self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_a_file_and_what_could_leave_the_cache_is_refused() {
        let file: HubFile = "hub:timm/resnet50.a1_in1k".parse().unwrap();
        assert_eq!((file.repo.as_str(), file.file.as_str()), ("timm/resnet50.a1_in1k", "model.safetensors"));
        assert_eq!(file.to_string().parse::<HubFile>().unwrap(), file);
        assert_eq!("hub:a/b/c/d.safetensors".parse::<HubFile>().unwrap().file, "c/d.safetensors");
        for text in [
            "",
            "hub:",
            "hub:a",
            "a/b",
            "hub:a/",
            "hub:a/../c",
            "hub:../b",
            "hub:a/b/../../c",
            "hub:/a/b",
            "hub:a/b/c\\d",
        ] {
            assert!(text.parse::<HubFile>().unwrap_err().to_string().contains("expected hub:ORG/NAME"), "{text:?}");
        }
    }

    #[test]
    fn the_cache_is_that_of_the_hubs_own_tools() {
        let of = |set: &[(&str, &str)]| {
            cache(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())).ok()
        };
        let home = ("HOME", "/h");
        assert_eq!(of(&[home]), Some("/h/.cache/huggingface/hub".into()));
        assert_eq!(of(&[home, ("XDG_CACHE_HOME", "/x")]), Some("/x/huggingface/hub".into()));
        assert_eq!(of(&[home, ("HF_HOME", "/f")]), Some("/f/hub".into()));
        assert_eq!(of(&[home, ("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")]), Some("/c".into()));
        assert_eq!(of(&[home, ("HF_HUB_CACHE", "")]), Some("/h/.cache/huggingface/hub".into()));
        assert_eq!(of(&[]), None);
        let offline = |value: &str| is_offline(Some(value.into()));
        assert!(
            offline("1") && offline("true") && offline("Yes") && !offline("0") && !offline("") && !is_offline(None)
        );
    }

    #[test]
    fn a_file_is_found_at_the_commit_of_main_and_one_that_is_absent_is_named_with_the_place() {
        let cache = tempfile::tempdir().unwrap();
        let file: HubFile = "hub:lab/tiny".parse().unwrap();
        assert_eq!(file.cached(cache.path()), None);
        let folder = cache.path().join("models--lab--tiny");
        for below in ["refs", "snapshots/abc"] {
            std::fs::create_dir_all(folder.join(below)).unwrap();
        }
        std::fs::write(folder.join("refs/main"), "abc\n").unwrap();
        assert_eq!(file.cached(cache.path()), None);
        std::fs::write(folder.join("snapshots/abc/model.safetensors"), "x").unwrap();
        assert_eq!(file.cached(cache.path()), Some(folder.join("snapshots/abc/model.safetensors")));
        std::fs::write(folder.join("refs/main"), "../abc").unwrap();
        assert_eq!(file.cached(cache.path()), None, "a commit is no path");
        let text = file.absent(cache.path());
        assert!(text.contains("hub:lab/tiny/model.safetensors") && text.contains("models--lab--tiny"), "{text}");
    }
}
