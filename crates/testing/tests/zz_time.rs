use std::time::Instant;
use testing::conformance::*;
#[tokio::test]
async fn pg() {
    for _ in 0..3 {
    let t = Instant::now();
    let s = Service::<OnPostgres>::start().await;
    eprintln!("start {:?}", t.elapsed());
    let k = uuid::Uuid::now_v7();
    for _ in 0..3 { let t = Instant::now(); s.deliver(order(k, "add")).await; eprintln!("deliver {:?}", t.elapsed()); }
    let t = Instant::now(); s.users().await; eprintln!("users {:?}", t.elapsed());
    let t = Instant::now(); drop(s); eprintln!("drop {:?}", t.elapsed());
    }
}
#[tokio::test]
async fn mongo() {
    for _ in 0..3 {
    let t = Instant::now();
    let s = Service::<OnMongo>::start().await;
    eprintln!("mstart {:?}", t.elapsed());
    let k = uuid::Uuid::now_v7();
    for _ in 0..3 { let t = Instant::now(); s.deliver(order(k, "add")).await; eprintln!("mdeliver {:?}", t.elapsed()); }
    let t = Instant::now(); s.users().await; eprintln!("musers {:?}", t.elapsed());
    let t = Instant::now(); drop(s); eprintln!("mdrop {:?}", t.elapsed());
    }
}
