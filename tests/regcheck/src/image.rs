// SPDX-License-Identifier: GPL-2.0-or-later

//! The file that is checked: sections, symbols and relocations of a relocatable ELF object.

use std::collections::{BTreeMap, HashMap};

use object::{
    elf, Architecture, BinaryFormat, File, Object, ObjectKind, ObjectSection, ObjectSymbol,
    RelocationFlags, RelocationTarget, SectionFlags, SymbolKind,
};
use thiserror::Error;

/// Why a file cannot be checked at all.
#[derive(Debug, Error)]
pub enum BadFile {
    /// Not an ELF file, or one that contradicts itself.
    #[error("this is no ELF object that can be read ({0}); nothing was checked")]
    Unreadable(String),
    /// An ELF file of another kind.
    #[error("this is {0}, not a relocatable x86-64 object such as tresor.ko; nothing was checked")]
    WrongKind(String),
    /// None of the engine's symbols are in it.
    #[error(
        "this object has no routine called tresor_aesni_*: it is not tresor.ko, or has been \
         stripped of its symbols; nothing was checked"
    )]
    NoRoutines,
}

/// What a relocation points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A place in a section of this file.
    Here {
        /// Index of the section in [`Image::sections`].
        section: usize,
        /// Offset there, without the addend.
        offset: u64,
    },
    /// A symbol of another file.
    Elsewhere(String),
}

/// A relocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Its ELF type, such as `R_X86_64_PC32`.
    pub kind: u32,
    /// What it points to.
    pub target: Target,
    /// What is added.
    pub addend: i64,
}

/// A section.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Its bytes; empty for `.bss`.
    pub data: Vec<u8>,
    /// Loaded into memory.
    pub loaded: bool,
    /// It holds code.
    pub executable: bool,
    /// It can be written.
    pub writable: bool,
    /// By their places.
    pub relocations: BTreeMap<u64, Relocation>,
}

/// A function or object.
#[derive(Clone, Debug)]
pub struct Symbol {
    /// Its name.
    pub name: String,
    /// Index of its section.
    pub section: usize,
    /// Its offset there.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// It is code.
    pub function: bool,
}

/// The whole file.
#[derive(Clone, Debug)]
pub struct Image {
    /// Sections, in the file's order.
    pub sections: Vec<Section>,
    /// Symbols that are defined here.
    pub symbols: Vec<Symbol>,
}

impl Image {
    /// Reads an object.
    ///
    /// # Errors
    /// [`BadFile`] if it is none, or not of the kind that a kernel module is.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadFile> {
        let bad = |error: object::Error| BadFile::Unreadable(error.to_string());
        let file = File::parse(bytes).map_err(bad)?;
        let kind = (file.format(), file.architecture(), file.kind());
        if kind
            != (
                BinaryFormat::Elf,
                Architecture::X86_64,
                ObjectKind::Relocatable,
            )
        {
            return Err(BadFile::WrongKind(format!(
                "a file of format {:?}, architecture {:?}, kind {:?}",
                kind.0, kind.1, kind.2
            )));
        }
        let mut places = HashMap::new();
        for (place, section) in file.sections().enumerate() {
            places.insert(section.index(), place);
        }
        let mut sections = Vec::new();
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags } = section.flags() else {
                return Err(BadFile::Unreadable("a section without ELF flags".into()));
            };
            let mut relocations = BTreeMap::new();
            for (offset, relocation) in section.relocations() {
                let RelocationFlags::Elf { r_type } = relocation.flags() else {
                    return Err(BadFile::Unreadable("a relocation without ELF type".into()));
                };
                let target = Self::target(&file, &places, relocation.target())?;
                relocations.insert(
                    offset,
                    Relocation {
                        kind: r_type,
                        target,
                        addend: relocation.addend(),
                    },
                );
            }
            sections.push(Section {
                name: section.name().map_err(bad)?.to_owned(),
                data: section.data().map_err(bad)?.to_vec(),
                loaded: sh_flags & u64::from(elf::SHF_ALLOC) != 0,
                executable: sh_flags & u64::from(elf::SHF_EXECINSTR) != 0,
                writable: sh_flags & u64::from(elf::SHF_WRITE) != 0,
                relocations,
            });
        }
        let mut symbols = Vec::new();
        for symbol in file.symbols() {
            let Some(&section) = symbol.section_index().and_then(|i| places.get(&i)) else {
                continue;
            };
            if matches!(symbol.kind(), SymbolKind::Section | SymbolKind::File) {
                continue;
            }
            symbols.push(Symbol {
                name: symbol.name().map_err(bad)?.to_owned(),
                section,
                address: symbol.address(),
                size: symbol.size(),
                function: symbol.kind() == SymbolKind::Text,
            });
        }
        Ok(Self { sections, symbols })
    }

    fn target(
        file: &File<'_>,
        places: &HashMap<object::SectionIndex, usize>,
        target: RelocationTarget,
    ) -> Result<Target, BadFile> {
        let bad = |what: &str| BadFile::Unreadable(format!("a relocation against {what}"));
        let here = |index: object::SectionIndex, offset| {
            let section = *places.get(&index).ok_or_else(|| bad("no section"))?;
            Ok(Target::Here { section, offset })
        };
        match target {
            RelocationTarget::Symbol(index) => {
                let symbol = file
                    .symbol_by_index(index)
                    .map_err(|_| bad("no symbol of the table"))?;
                match symbol.section_index() {
                    Some(section) => here(section, symbol.address()),
                    None => Ok(Target::Elsewhere(
                        symbol
                            .name()
                            .map_err(|_| bad("a symbol without name"))?
                            .to_owned(),
                    )),
                }
            }
            RelocationTarget::Section(index) => here(index, 0),
            RelocationTarget::Absolute => Ok(Target::Elsewhere("an absolute address".into())),
            _ => Err(bad("something unknown")),
        }
    }

    /// The symbol of that name.
    pub fn symbol(&self, name: &str) -> Option<&Symbol> {
        self.symbols.iter().find(|s| s.name == name)
    }

    /// `len` bytes of a section.
    pub fn bytes(&self, section: usize, offset: u64, len: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        let end = usize::try_from(offset.checked_add(len)?).ok()?;
        self.sections.get(section)?.data.get(start..end)
    }
}
