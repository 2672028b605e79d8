//! Every form against the words of an assembler: those in `forms.txt`, and the assembler itself where there is one.

#![allow(clippy::disallowed_methods)]

use super::assemble;
use super::form::{self, Form};
use super::mir::{Base, Class, Func, Mem, Op, Opnd, VReg};
use super::regs::PReg;
use std::process::Command;

const TABLE: &str = include_str!("forms.txt");

/// Name, operands, text and word of every line.
fn table() -> Vec<[&'static str; 4]> {
    let lines = TABLE.lines().filter(|l| !l.starts_with('#'));
    lines.map(|l| l.split(" | ").collect::<Vec<_>>().try_into().unwrap()).collect()
}

fn form(name: &str) -> Form {
    let mut words = name.split(':');
    let base = words.next().unwrap();
    let (_, mut form) =
        *form::ALL.iter().find(|(n, _)| *n == base).unwrap_or_else(|| panic!("no form {base}"));
    for w in words {
        form = match w {
            "wide" => form.wide(true),
            "float" => form.float(8),
            "upper" => form.upper(true),
            w => form.lanes(w.strip_prefix("lanes").unwrap().parse().unwrap()),
        };
    }
    form
}

fn register(regs: &mut Vec<Option<PReg>>, f: &mut Func, text: &str) -> VReg {
    let n: u8 = text[1..].parse().unwrap();
    let vector = text.starts_with('v');
    regs.push(Some(if vector { PReg::v(n) } else { PReg::x(n) }));
    f.vreg(if vector { Class::Vec } else { Class::Gpr })
}

fn encode(name: &str, operands: &str) -> u32 {
    let (mut f, mut regs) = (Func::default(), vec![]);
    let mut opnds = vec![];
    for o in operands.split(' ') {
        opnds.push(match o.as_bytes()[0] {
            b'#' => Opnd::Imm(o[1..].parse().unwrap()),
            b'[' => {
                let parts: Vec<&str> = o[1..o.len() - 1].split(',').collect();
                let base = Base::Reg(register(&mut regs, &mut f, parts[0]));
                Opnd::Mem(match parts[1..] {
                    [x, scale] => {
                        let index = Some((register(&mut regs, &mut f, x), scale.parse().unwrap()));
                        Mem { base, index, disp: 0 }
                    }
                    _ => Mem { base, index: None, disp: parts[1].parse().unwrap() },
                })
            }
            _ => Opnd::Use(register(&mut regs, &mut f, o), 16),
        });
    }
    f.items.push(super::mir::Item::Op(Op { code: form(name), opnds, mask: None, implicit: vec![] }));
    let code = super::encode::encode(&f, &regs).unwrap();
    // Registers to save would come in front.
    let at = if code.len() > 4 { code.len() - 4 } else { 0 };
    u32::from_le_bytes(code[at..].try_into().unwrap())
}

#[test]
fn every_form_is_what_an_assembler_makes() {
    let table = table();
    for (name, _) in form::ALL {
        assert!(table.iter().any(|[n, ..]| n.split(':').next() == Some(name)), "{name} is not in the table");
    }
    for [name, operands, text, word] in table {
        assert_eq!(format!("{:08x}", encode(name, operands)), word, "{name} {operands}: {text}");
    }
}

#[test]
fn the_table_is_what_an_assembler_makes() {
    let tool = "aarch64-linux-gnu-as";
    if Command::new(tool).arg("--version").output().is_err() {
        println!("SKIP: {tool} is not installed");
        return;
    }
    let dir = std::env::temp_dir().join(format!("sinter-forms-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (source, object) = (dir.join("a.s"), dir.join("a.o"));
    let text: Vec<&str> = table().iter().map(|[_, _, text, _]| *text).collect();
    std::fs::write(&source, format!(".arch armv8.6-a\n{}\n", text.join("\n"))).unwrap();
    assert!(Command::new(tool).arg("-o").args([&object, &source]).status().unwrap().success());
    let bytes = std::fs::read(&object).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    // The code is in the object as it is.
    let words: Vec<u8> = table()
        .iter()
        .flat_map(|[_, _, _, word]| u32::from_str_radix(word, 16).unwrap().to_le_bytes())
        .collect();
    assert!(bytes.windows(words.len()).any(|w| w == words), "the words of the table differ");
}

/// A constant, a loop and saved registers: the whole of a function.
#[test]
fn functions_keep_what_they_must() {
    let mut f = Func::default();
    let x0 = f.fixed(PReg::x(0));
    let base = f.vreg(Class::Gpr);
    f.copy(base, x0, 8);
    let pool = f.pool(&[7; 16], 16);
    let many: Vec<VReg> = (0..30).map(|_| f.vreg(Class::Vec)).collect();
    for v in &many {
        f.op(form::LDR_Q, &[Opnd::Def(*v, 16), Opnd::Mem(pool.into())]);
        f.op(form::FADD, &[Opnd::UseDef(*v, 16), Opnd::Use(*v, 16), Opnd::Use(*v, 16)]);
    }
    for (i, v) in many.iter().enumerate() {
        f.op(form::STR_Q, &[Opnd::Use(*v, 16), Opnd::Mem(Mem::reg(base).plus(16 * i as i64))]);
    }
    f.items.push(super::mir::Item::Ret(x0));
    let code = assemble(f).unwrap();
    let words: Vec<u32> = code.chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect();
    let saves = |bits: u32| words.iter().filter(|w| *w & 0xffc0_0000 == bits).count();
    assert_eq!((saves(form::STP_D.bits), saves(form::LDP_D.bits)), (3, 3), "d8 to d13");
    // Thirty literals find the constant behind the code.
    let literals = words.iter().enumerate().filter(|(_, w)| *w & 0xff00_0000 == 0x9c00_0000);
    let places: Vec<usize> = literals.map(|(i, w)| i + (*w >> 5 & 0x7_ffff) as usize).collect();
    assert_eq!(places.len(), 30);
    assert!(places.iter().all(|at| words[*at..at + 4] == [0x0707_0707; 4]));
}
