//! Symbolic integers as C expressions of type `int64_t`.

use sinter_ir::Expr;
use sinter_ir::expr::Atom;

/// An expression over the symbol array `syms`. Sums and products wrap; division by zero gives 0.
pub fn text(e: &Expr) -> String {
    if let Some(c) = e.as_const() {
        return int(c);
    }
    if let Some(s) = e.as_sym() {
        return format!("syms[{}]", s.0);
    }
    let mut sum: Vec<String> = e
        .terms()
        .iter()
        .map(|(atoms, c)| {
            let mut factors: Vec<String> = atoms.iter().map(|a| format!("(uint64_t){}", atom(a))).collect();
            if *c != 1 {
                factors.push(format!("(uint64_t){}", int(*c)));
            }
            factors.join(" * ")
        })
        .collect();
    if e.constant_term() != 0 {
        sum.push(format!("(uint64_t){}", int(e.constant_term())));
    }
    format!("(int64_t)({})", sum.join(" + "))
}

fn atom(a: &Atom) -> String {
    match a {
        Atom::Sym(s) => format!("syms[{}]", s.0),
        Atom::Div(x, y) => format!("floor_div({}, {})", text(x), text(y)),
        Atom::Mod(x, y) => format!("floor_mod({}, {})", text(x), text(y)),
        Atom::Min(x, y) => format!("least({}, {})", text(x), text(y)),
        Atom::Max(x, y) => format!("most({}, {})", text(x), text(y)),
        Atom::Sel(c, x, y) => format!("({} >= 0 ? {} : {})", text(c), text(x), text(y)),
        Atom::TooBig => "0".into(),
    }
}

/// A constant; the least one has no literal.
pub fn int(v: i64) -> String {
    match v {
        i64::MIN => "INT64_MIN".into(),
        0..=0x7fff_ffff => v.to_string(),
        -0x7fff_ffff..0 => format!("({v})"),
        _ => format!("INT64_C({v})"),
    }
}
