//! Loads the templates: the built-in ones, and the operator's folder that replaces some of them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;

use super::{Content, MessageKind, MessageRenderer, ServiceInfo, environment};

/// The end of the names of subjects, which are templates of their own.
pub(super) const SUBJECT: &str = ".subject";

/// Why templates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The folder or a file cannot be read.
    #[error("{}: it cannot be read: {cause}; name a folder that this user can read", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The I/O error.
        cause: io::Error,
    },
    /// No message has this name.
    #[error(
        "`{}` is not the name of a message: use one of these, with .txt or .html: {}",
        .0.display(), names()
    )]
    Unknown(PathBuf),
    /// The first line is not the subject.
    #[error("{}: its first line is not the subject; begin it with `Subject: `", .0.display())]
    NoSubject(PathBuf),
    /// Nothing is left of it with these values.
    #[error("{0}: it renders an empty text; write a text that every message shows")]
    Empty(String),
    /// It cannot be rendered.
    #[error("{name}: {cause}; correct the template (docs/email.md lists the variables)")]
    Invalid {
        /// The file.
        name: String,
        /// The error.
        cause: String,
    },
}

fn names() -> String {
    let names: Vec<&str> = MessageKind::ALL.iter().map(|message| message.as_str()).collect();
    names.join(", ")
}

impl MessageRenderer {
    /// Loads the templates. Those in `folder` replace the built-in ones; a subfolder named after a
    /// language (`de`) contains the templates for it. Each template is rendered, with empty and
    /// with example values.
    ///
    /// # Errors
    /// [`TemplateError`] for the first invalid one.
    pub fn load(folder: Option<&Path>, service: ServiceInfo) -> Result<Self, TemplateError> {
        let (templates, languages) = (environment(), BTreeSet::new());
        let mut renderer = Self { templates, languages, service };
        renderer.add("layout.html", include_str!("../templates/layout.html").to_owned())?;
        for &message in MessageKind::ALL {
            let (text, html) = message.built_in();
            let name = message.as_str();
            renderer.add_text(name, Path::new(name), text)?;
            renderer.add(&format!("{name}.html"), html.to_owned())?;
        }
        if let Some(folder) = folder {
            renderer.add_folder(folder, "")?;
        }
        renderer.check()?;
        Ok(renderer)
    }

    fn add_folder(&mut self, folder: &Path, prefix: &str) -> Result<(), TemplateError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |cause| TemplateError::Unreadable { path, cause }
        };
        for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
            let path = entry.map_err(unreadable(folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // Files of editors and version control.
            if name.starts_with('.') || name.ends_with('~') {
                continue;
            }
            if path.is_dir() && prefix.is_empty() && is_language(name) {
                self.languages.insert(name.to_owned());
                self.add_folder(&path, &format!("{name}/"))?;
                continue;
            }
            let source = fs::read_to_string(&path).map_err(unreadable(&path))?;
            let full = format!("{prefix}{name}");
            match name.rsplit_once('.') {
                Some(("layout", "html")) => self.add(&full, source)?,
                Some((stem, "txt")) if MessageKind::parse(stem).is_some() => {
                    self.add_text(&format!("{prefix}{stem}"), &path, &source)?;
                }
                Some((stem, "html")) if MessageKind::parse(stem).is_some() => {
                    self.add(&full, source)?;
                }
                _ => return Err(TemplateError::Unknown(path)),
            }
        }
        Ok(())
    }

    /// Adds a text whose first line is the subject.
    fn add_text(&mut self, name: &str, path: &Path, source: &str) -> Result<(), TemplateError> {
        let (first, text) = source.split_once('\n').unwrap_or((source, ""));
        let subject = first.trim_end().strip_prefix("Subject: ");
        let subject = subject.ok_or_else(|| TemplateError::NoSubject(path.to_owned()))?;
        self.add(&format!("{name}{SUBJECT}"), subject.to_owned())?;
        // In place of the subject, so that errors name the line of the file.
        self.add(&format!("{name}.txt"), format!("\n{text}"))
    }

    fn add(&mut self, name: &str, source: String) -> Result<(), TemplateError> {
        let added = self.templates.add_template_owned(name.to_owned(), source);
        added.map_err(|error| TemplateError::invalid(name, &error))
    }

    /// Renders every template with empty values, and with example values.
    fn check(&self) -> Result<(), TemplateError> {
        let sample = self.sample_content("ada@example.com", Timestamp::from_unix_seconds(0));
        for (name, _) in self.templates.templates() {
            let rendered = self.try_render_template(name, &Content::default());
            rendered.map_err(|error| TemplateError::invalid(name, &error))?;
            self.render_template(name, &sample)?;
        }
        Ok(())
    }
}

impl TemplateError {
    pub(super) fn empty(name: &str) -> Self {
        Self::Empty(file_of(name))
    }

    pub(super) fn invalid(name: &str, error: &minijinja::Error) -> Self {
        // An error may be in the layout, which others extend.
        let name = error.name().unwrap_or(name);
        let place = match error.line() {
            _ if name.ends_with(SUBJECT) => String::from(" in the subject"),
            Some(line) => format!(" in line {line}"),
            None => String::new(),
        };
        let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        Self::Invalid { name: file_of(name), cause: format!("{}{place}{detail}", error.kind()) }
    }
}

/// The operator's file of a template. The subject is the first line of the text.
fn file_of(name: &str) -> String {
    name.strip_suffix(SUBJECT).map_or_else(|| name.to_owned(), |stem| format!("{stem}.txt"))
}

/// Whether a folder's name is a language (RFC 5646 2.2.1).
fn is_language(name: &str) -> bool {
    (2..=3).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> ServiceInfo {
        ServiceInfo {
            name: String::from("Example & Co"),
            issuer: String::from("https://login.example.com"),
            reset_link: String::from("https://login.example.com/reset#token={token}"),
        }
    }

    fn write(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn error(files: &[(&str, &str)]) -> String {
        let folder = write(files);
        MessageRenderer::load(Some(folder.path()), service())
            .err()
            .expect("it is rejected")
            .to_string()
    }

    #[test]
    fn every_message_has_a_subject_a_text_and_a_page() {
        let renderer = MessageRenderer::load(None, service()).unwrap();
        for &message in MessageKind::ALL {
            let now = Timestamp::from_unix_seconds(1_800_000_000);
            let it = renderer.sample(message, "ada@example.com", None, now).unwrap();
            assert!(it.subject.contains("Example & Co") && !it.subject.contains('\n'), "{it:?}");
            assert!(it.text.contains("Example & Co"), "{it:?}");
            assert!(it.html.contains("Example &amp; Co"), "{it:?}");
            assert_eq!(it.text.contains("ABCD-EFGH"), message.has_code(), "{it:?}");
            assert_eq!(it.html.contains("ABCD-EFGH"), message.has_code(), "{it:?}");
            assert_eq!(it.text.contains("#token=dwm_EXAMPLE"), message.has_link(), "{it:?}");
            assert!(!message.is_proof() || it.text.to_lowercase().contains("never"), "{it:?}");
        }
    }

    #[test]
    fn templates_of_the_operator_replace_built_in_ones_by_language() {
        let folder = write(&[
            ("test.txt", "Subject: Ours\n\nOurs: {{ email }}\n"),
            ("de/test.txt", "Subject: Probe\n\nEine Probe.\n"),
            ("de/test.html", "<p>{{ email }}</p>"),
        ]);
        let renderer = MessageRenderer::load(Some(folder.path()), service()).unwrap();
        let now = Timestamp::from_unix_seconds(0);
        let render =
            |locale| renderer.sample(MessageKind::Test, "<b>@example.com", locale, now).unwrap();
        let (english, german) = (render(None), render(Some("de")));
        assert_eq!((english.subject.as_str(), german.subject.as_str()), ("Ours", "Probe"));
        assert_eq!(english.text.trim(), "Ours: <b>@example.com");
        assert!(english.html.contains("test message"), "the page is the built-in one");
        assert_eq!(german.html, "<p>&lt;b&gt;@example.com</p>", "values in a page are escaped");
        assert_eq!(render(Some("fr")).subject, "Ours");
    }

    #[test]
    fn an_invalid_template_is_named_at_the_start() {
        assert!(error(&[("rest.txt", "Subject: x\n\n")]).contains("account_exists"));
        assert!(error(&[("test.txt", "Hello")]).contains("Subject: "));
        assert!(error(&[("test.txt", "Subject: {{ email }}\n\nx")]).contains("test.txt"));
        assert!(error(&[("test.txt", "Subject: {{ emial }}\n\nx")]).contains("in the subject"));
        assert!(
            error(&[("test.txt", "Subject: x\n\n{{ emial }}")]).contains("test.txt: undefined")
        );
        assert!(error(&[("test.txt", "Subject: x\n\n{{ emial }}")]).contains("in line 3"));
        assert!(error(&[("test.html", "{{ emial }}")]).contains("test.html"));
        assert!(error(&[("test.html", "{% if %}")]).contains("line 1"));
        let only_with_values = "{% if code %}{{ no_such_variable }}{% endif %}x";
        assert!(error(&[("test.html", only_with_values)]).contains("test.html"));
        assert!(error(&[("test.html", "{% if not code %}x{% endif %}")]).contains("empty"));
        assert!(error(&[("test.txt", "Subject: x\n\n")]).contains("test.txt: it renders an empty"));
        let nowhere = MessageRenderer::load(Some(Path::new("/nowhere/at/all")), service());
        assert!(matches!(nowhere, Err(TemplateError::Unreadable { .. })));
    }
}
