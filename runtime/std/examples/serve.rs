//! Runs bundles for another process, on whatever processor this one is: `serve` reads requests from its standard input.
//! `sinter run BUNDLE --through "ssh board ./serve"` is the other side.

fn main() -> std::io::Result<()> {
    sinter_runtime::remote::serve(std::io::stdin().lock(), std::io::stdout().lock())
}
