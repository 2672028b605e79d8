//! Sessions on a model that is known by heart: reading in pieces, answers, stops, full caches, saving, allocations.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, unsafe_code)]

mod common;

use common::fake::Fake;
use sinter_llm::gguf::{TokenKind, Vocabulary};
use sinter_llm::{Finish, Kind, Language, LanguageModel, Model, Options, Session, Settings, Tokenizer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Counts what a thread asks for.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, l: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        unsafe { System.alloc(l) }
    }
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) {
        unsafe { System.dealloc(p, l) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const VOCAB: usize = 64;

/// Tokens `a`, `b`, ... of one to three letters; the last one ends texts.
fn language() -> Arc<Language> {
    let letter = |i: usize| char::from(b'a' + (i % 26) as u8).to_string();
    let mut tokens: Vec<String> = (0..VOCAB).map(|i| letter(i).repeat(1 + i / 26)).collect();
    tokens[VOCAB - 1] = "<end>".into();
    let mut kinds = vec![TokenKind::Normal; VOCAB];
    kinds[VOCAB - 1] = TokenKind::Control;
    let v = Vocabulary {
        model: "gpt2".into(),
        tokens,
        kinds,
        eos: Some(VOCAB as u32 - 1),
        ..Vocabulary::default()
    };
    let mut info = LanguageModel { vocab: VOCAB, ..LanguageModel::default() };
    v.describe(&mut info);
    let tokenizer = Tokenizer::from_json(&v.tokenizer_json().unwrap()).unwrap();
    Arc::new(Language { info, tokenizer, template: None })
}

fn session(capacity: usize, chunk: usize) -> Session<Fake> {
    Session::new(Fake::new(VOCAB, capacity, chunk), language()).unwrap()
}

/// What the model says greedily after these tokens.
fn truth(prompt: &[u32], n: usize) -> Vec<u32> {
    let mut all = prompt.to_vec();
    for _ in 0..n {
        all.push(Fake::next(&all, VOCAB));
    }
    all.split_off(prompt.len())
}

fn text(tokens: &[u32]) -> String {
    let l = language();
    String::from_utf8(l.tokenizer.decode(tokens, false)).unwrap()
}

fn say(s: &mut Session<Fake>, options: &Options) -> (String, Finish) {
    let mut out = String::new();
    let outcome = s.generate(options, |t| {
        out += t;
        ControlFlow::Continue(())
    });
    (out, outcome.unwrap().finish)
}

fn most(n: usize) -> Options {
    Options { max_tokens: Some(n), ignore_eos: true, ..Options::default() }
}

/// A prompt whose first answers do not end the text.
fn prompt() -> Vec<u32> {
    let fits = |p: &Vec<u32>| truth(p, 30).iter().all(|t| *t != VOCAB as u32 - 1);
    (0..).map(|i| vec![i, 2, 3, 5, 8, 13, 21]).find(fits).unwrap()
}

#[test]
fn chunks_do_not_matter() {
    let p = prompt();
    for chunk in [1, 2, 3, 7, 100] {
        let mut s = session(40, chunk);
        s.feed(&p).unwrap();
        assert_eq!(s.model().runs, p.len().div_ceil(chunk));
        assert_eq!(say(&mut s, &most(20)), (text(&truth(&p, 20)), Finish::Length), "{chunk}");
        assert_eq!(s.history()[p.len()..], truth(&p, 19));
        // It goes on where it ended.
        assert_eq!(say(&mut s, &most(5)).0, text(&truth(&p, 25)[20..]));
    }
}

#[test]
fn ends_of_answers() {
    let end = VOCAB as u32 - 1;
    let p: Vec<u32> = (0..).map(|i| vec![i % 50, i / 50, 7]).find(|p| truth(p, 4)[3] == end).unwrap();
    let mut s = session(40, 8);
    s.feed(&p).unwrap();
    assert_eq!(say(&mut s, &Options::default()), (text(&truth(&p, 3)), Finish::End));
    let p = prompt();
    let whole = text(&truth(&p, 20));
    let stop = whole[4..8].to_owned();
    let at = whole.find(&stop).unwrap();
    let run = |options: &Options| {
        let mut s = session(40, 8);
        s.feed(&p).unwrap();
        say(&mut s, options)
    };
    let options = Options { stops: vec!["zzzzzzzz".into(), stop], ..most(20) };
    assert_eq!(run(&options), (whole[..at].to_owned(), Finish::Stop));
    assert_eq!(run(&most(0)), (String::new(), Finish::Length));
    // The cache is full: the last token was chosen and has no room.
    assert_eq!(run(&Options { max_tokens: None, ..most(0) }), (text(&truth(&p, 34)), Finish::Full));
    let mut s = session(40, 8);
    s.feed(&p).unwrap();
    let mut parts = 0;
    let cancelled = s.generate(&most(20), |_| {
        parts += 1;
        if parts == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((cancelled.unwrap().finish, parts), (Finish::Cancelled, 3));
}

#[test]
fn no_room() {
    let mut s = session(8, 4);
    let e = s.feed(&[1; 9]).unwrap_err();
    assert_eq!((e.kind, e.message.as_str()), (Kind::Limit, "9 tokens do not fit the cache, which holds 8"));
    assert_eq!(s.model().runs, 0);
    s.feed(&[1; 6]).unwrap();
    assert_eq!(s.feed(&[1; 3]).unwrap_err().message, "3 tokens behind 6 do not fit the cache, which holds 8");
    assert_eq!(say(&mut s, &Options { max_tokens: None, ..most(0) }).1, Finish::Full);
    assert_eq!(s.generate(&most(1), |_| ControlFlow::Continue(())).unwrap_err().kind, Kind::Limit);
    s.reset().unwrap();
    assert!(
        s.generate(&most(1), |_| ControlFlow::Continue(()))
            .unwrap_err()
            .message
            .starts_with("there is nothing")
    );
    assert!(s.feed(&[VOCAB as u32]).unwrap_err().message.contains("token 64"));
    let small = Fake::new(10, 8, 4);
    assert!(Session::new(small, language()).err().unwrap().message.contains("the model knows 10"));
}

/// After a run that failed the model begins anew: nothing is built on what it left.
#[test]
fn failed_runs() {
    let mut model = Fake::new(VOCAB, 20, 4);
    model.poison = Some(9);
    let mut s = Session::new(model, language()).unwrap();
    s.feed(&[1, 2]).unwrap();
    assert_eq!(s.feed(&[3, 9]).unwrap_err().kind, Kind::Model);
    assert_eq!((s.history().len(), s.model().position()), (0, 0));
    s.feed(&[1, 2]).unwrap();
    assert_eq!(say(&mut s, &most(1)).0, text(&truth(&[1, 2], 1)));
}

#[test]
fn common_beginnings_are_kept() {
    let mut s = session(40, 8);
    assert_eq!(s.become_tokens(&[1, 2, 3, 4]).unwrap(), 0);
    assert_eq!(s.become_tokens(&[1, 2, 3, 4, 5]).unwrap(), 4);
    assert_eq!(s.become_tokens(&[1, 2, 9]).unwrap(), 2);
    assert_eq!(s.become_tokens(&[1, 2]).unwrap(), 1);
    assert_eq!(say(&mut s, &most(3)).0, text(&truth(&[1, 2], 3)));
    assert_eq!(s.become_tokens(&[5; 41]).unwrap_err().kind, Kind::Limit);
    let mut model = Fake::new(VOCAB, 40, 8);
    model.rewinds = false;
    let mut s = Session::new(model, language()).unwrap();
    s.feed(&[1, 2, 3]).unwrap();
    assert_eq!(s.become_tokens(&[1, 2, 3, 4]).unwrap(), 3);
    assert_eq!(s.become_tokens(&[1, 2, 4]).unwrap(), 0);
    assert_eq!(say(&mut s, &most(3)).0, text(&truth(&[1, 2, 4], 3)));
}

#[test]
fn saved_sessions() {
    let p = prompt();
    for said in [0, 3] {
        let mut s = session(40, 8);
        s.feed(&p).unwrap();
        let before = say(&mut s, &most(said)).0;
        let saved = s.save();
        let after = say(&mut s, &most(10)).0;
        assert_eq!(before + &after, text(&truth(&p, said + 10)));
        let mut other = session(40, 3);
        other.feed(&[9, 9]).unwrap();
        other.load(&saved).unwrap();
        assert_eq!(say(&mut other, &most(10)).0, after);
        let message = |bytes: &[u8], mut s: Session<Fake>| s.load(bytes).unwrap_err().message;
        assert!(message(&saved, session(41, 8)).contains("a cache for 40 tokens, this one is for 41"));
        assert!(message(b"SINTER", session(40, 8)).contains("no saved session"));
        for cut in 8..saved.len() {
            let e = message(&saved[..cut], session(40, 8));
            assert!(e.contains("cut off") || e.contains("damaged"), "{cut}: {e}");
        }
        for at in 8..saved.len() {
            let mut bad = saved.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(session(40, 8).load(&bad).is_err(), "{at}");
        }
    }
}

/// Between the first and the last piece of an answer nothing is allocated, however tokens are chosen.
#[test]
fn answers_allocate_nothing() {
    let p = prompt();
    let sampled =
        Settings { temperature: 1.0, top_p: 0.9, min_p: 0.01, presence_penalty: 0.3, ..Settings::default() };
    let few = Settings { temperature: 1.0, top_k: 5, repetition_penalty: 1.2, ..Settings::default() };
    for settings in [Settings::default(), sampled, few] {
        let mut s = session(200, 8);
        s.feed(&p).unwrap();
        let options = Options { settings, stops: vec!["xyzzy".into(), "qq1".into()], ..most(150) };
        let mut seen: Vec<usize> = Vec::with_capacity(200);
        s.generate(&options, |_| {
            seen.push(ALLOCATIONS.get());
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(seen.len() > 100, "{}", seen.len());
        assert_eq!(seen.first(), seen.last());
    }
}
