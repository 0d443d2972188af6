//! Ranks that are threads and meet over the loopback: what they exchange, how they meet, and how they end.

use super::frame;
use super::*;
use crate::{Place, Ranks};
use msharp_core::Communicator;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

/// Short, for tests.
const SHORT: Limits = Limits {
    meeting: Duration::from_secs(20),
    notice: Duration::from_millis(300),
    hello: Duration::from_millis(200),
    ping: Duration::from_millis(100),
    pings: 5,
};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn launch(rank: usize, size: usize, host: &str, port: u16) -> Launch {
    let place = Place { host: host.to_owned(), port, run: String::new(), has_agent: false };
    Launch { variable: "WORLD_SIZE", rank, size, local_rank: None, place: Some(place) }
}

fn said(error: candle_core::Error) -> String {
    error.to_string().lines().next().unwrap().to_owned() // without a backtrace
}

/// What `f` yields on each of `size` ranks.
fn on_ranks<T: Send>(size: usize, f: impl Fn(Tcp) -> T + Sync) -> Vec<T> {
    let port = free_port();
    let (f, start) = (&f, |rank| Tcp::within(SHORT, &launch(rank, size, "localhost", port), &|_| {}).unwrap());
    thread::scope(|scope| {
        let all: Vec<_> = (0..size).map(|rank| scope.spawn(move || f(start(rank)))).collect();
        all.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

/// Sends `to(k)` to each other rank k, and receives `length` bytes from each; in its own place 1s.
fn exchanged(tcp: &Tcp, to: impl Fn(usize) -> Vec<u8>, length: usize) -> Result<Vec<Vec<u8>>> {
    let to: Vec<Vec<u8>> = (0..tcp.size()).map(to).collect();
    let mut from = vec![vec![1; length]; tcp.size()];
    tcp.exchange(
        &to.iter().map(|to| &to[..]).collect::<Vec<_>>(),
        &mut from.iter_mut().map(|f| &mut f[..]).collect::<Vec<_>>(),
    )?;
    Ok(from)
}

/// The byte at `at` of what `from` sends to `to`.
fn byte(from: usize, to: usize, at: usize) -> u8 {
    (from * 89 + to * 31 + at * 7 + at / 251) as u8
}

#[test]
fn messages_of_any_length_come_in_the_order_of_the_ranks() {
    for size in 2..=5 {
        on_ranks(size, |tcp| {
            let own = tcp.rank();
            for length in [0, 1, 7, 8, 1000, 65_536, 300_001, 0, 3_000_000 / size, 2] {
                let sent = |from, to| (0..length).map(|at| byte(from, to, at)).collect::<Vec<u8>>();
                let received = exchanged(&tcp, |to| sent(own, to), length).unwrap();
                for (from, received) in received.into_iter().enumerate() {
                    let expected = if from == own { vec![1; length] } else { sent(from, own) };
                    assert!(received == expected, "{length} bytes of rank {from} of {size}");
                }
            }
        });
    }
    assert_eq!(on_ranks(1, |tcp| tcp.size()), [1]);
}

#[test]
fn ranks_may_be_far_ahead_of_each_other_in_what_they_compute() {
    on_ranks(3, |tcp| {
        let own = tcp.rank() as u8;
        for round in 0..200u8 {
            if round % 50 == 10 * own {
                thread::sleep(Duration::from_millis(30));
            }
            let all = exchanged(&tcp, |_| vec![own + round], 1).unwrap();
            assert!((0..3).all(|rank| rank == own || all[rank as usize] == [rank + round]));
        }
        // Longer than the silence after which a rank is given up: those who compute answer all the same.
        thread::sleep(if own == 1 { SHORT.ping * (SHORT.pings + 5) } else { Duration::ZERO });
        Ranks(&tcp).barrier().unwrap();
        if own == 2 {
            thread::sleep(SHORT.ping * (SHORT.pings + 5)); // before it finishes
        }
    });
}

#[test]
fn other_lengths_and_operations_are_errors_that_name_the_rank() {
    let errors = on_ranks(2, |tcp| {
        let length = 8 * (tcp.rank() + 1);
        said(exchanged(&tcp, |_| vec![0; length], length).unwrap_err())
    });
    assert_eq!(errors[0], "rank 1 sent 16 bytes, and rank 0 expected 8; expected the same operations");
    assert_eq!(errors[1], "rank 0 sent 8 bytes, and rank 1 expected 16; expected the same operations");
    let errors = on_ranks(2, |tcp| match tcp.rank() {
        0 => String::new(), // finishes
        _ => said(Ranks(&tcp).barrier().unwrap_err()),
    });
    assert_eq!(errors[1], "rank 0 has finished, and rank 1 goes on; expected the same operations");
}

#[test]
fn after_an_exchange_that_failed_none_takes_what_was_sent_for_the_next() {
    on_ranks(2, |tcp| {
        if tcp.rank() == 1 {
            for length in [16, 8] {
                tcp.links.send(0, &vec![0; length]).unwrap();
            }
            return;
        }
        for _ in 0..2 {
            let error = said(exchanged(&tcp, |_| vec![0; 8], 8).unwrap_err());
            assert_eq!(error, "rank 1 sent 16 bytes, and rank 0 expected 8; expected the same operations");
        }
    });
}

#[test]
fn who_fails_or_panics_is_named_by_all_whoever_ends_next() {
    for panics in [false, true] {
        let port = free_port();
        let run = |rank: usize| {
            let tcp = Tcp::within(SHORT, &launch(rank, 4, "127.0.0.1", port), &|_| {}).unwrap();
            let (sender, heard) = channel();
            tcp.on_end(move |ended, reports| sender.send((ended.clone(), reports)).unwrap()).unwrap();
            let _ = Ranks(&tcp).barrier(); // of which some may hear first that another has ended
            if rank == 2 && panics {
                panic!("as it should");
            }
            if rank == 2 {
                assert!(tcp.abort("the disk is full"));
                assert!(heard.recv_timeout(Duration::from_millis(100)).is_err());
                return String::new();
            }
            let text = said(Ranks(&tcp).barrier().unwrap_err());
            let (ended, reports) = heard.recv().unwrap();
            assert!(!tcp.abort("for another reason") && ended.is_own && !reports);
            text
        };
        let run = &run;
        let all: Vec<_> = thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|rank| scope.spawn(move || run(rank))).collect();
            all.into_iter().map(|rank| rank.join()).collect()
        });
        let why = if panics { "it panicked" } else { "the disk is full" };
        for (rank, text) in all.into_iter().enumerate().filter(|(rank, _)| *rank != 2) {
            assert_eq!(text.unwrap(), format!("rank 2 has ended: {why}"), "on rank {rank}");
        }
    }
}

#[test]
fn of_a_rank_that_is_killed_one_other_speaks() {
    for round in 0..20 {
        let killed = round % 4;
        let port = free_port();
        let run = |rank: usize| {
            let tcp = Tcp::within(SHORT, &launch(rank, 4, "127.0.0.1", port), &|_| {}).unwrap();
            let (sender, heard) = channel();
            tcp.on_end(move |ended, reports| _ = sender.send((ended.rank, reports))).unwrap();
            let _ = Ranks(&tcp).barrier();
            if rank == killed {
                tcp.links.close(); // as the system does for a process that is killed
                return None;
            }
            let end = heard.recv().unwrap();
            tcp.links.close(); // at once, as a process that ends with what it has said
            Some(end)
        };
        let run = &run;
        let ends: Vec<(usize, bool)> = thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|rank| scope.spawn(move || run(rank))).collect();
            all.into_iter().filter_map(|rank| rank.join().unwrap()).collect()
        });
        assert!(ends.iter().all(|(rank, _)| *rank == killed), "{ends:?}");
        assert_eq!(ends.iter().map(|(_, reports)| *reports).collect::<Vec<_>>(), [true, false, false]);
    }
}

/// Streams between rank 0 and others, of which those of rank 0 are returned, and the other ends.
fn streams(size: usize) -> (Vec<Option<TcpStream>>, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let pair = |_| {
        let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Some(listener.accept().unwrap().0), there)
    };
    let (mut here, there): (Vec<_>, Vec<_>) = (1..size).map(pair).unzip();
    here.insert(0, None);
    (here, there)
}

#[test]
fn a_stream_that_closes_within_a_message_or_is_silent_is_a_rank_that_has_ended() {
    // within a message
    let (here, mut there) = streams(2);
    let tcp = Tcp::over(SHORT, 0, here).unwrap();
    let (sender, heard) = channel();
    tcp.on_end(move |ended, reports| sender.send((ended.to_string(), reports)).unwrap()).unwrap();
    there[0].write_all(&[&8u64.to_le_bytes()[..], b"half"].concat()).unwrap();
    drop(there);
    let text = said(Ranks(&tcp).barrier().unwrap_err());
    assert_eq!(text, "rank 1 has ended: the connection closed within a message of 8 bytes");
    assert_eq!(heard.recv().unwrap(), (text, true));
    drop(tcp);

    // killed, and another rank says the same a moment later: the first is named, and one rank reports
    let (here, mut there) = streams(3);
    let tcp = Tcp::over(SHORT, 0, here).unwrap();
    drop(there.pop());
    let text = said(Ranks(&tcp).barrier().unwrap_err());
    assert!(text.starts_with("rank 2 has ended: its connection closed"), "{text}");
    let mut told = there.pop().unwrap();
    let mut message = Vec::new();
    loop {
        match frame::read(&mut told, &mut message).unwrap() {
            frame::Came::Ended(ended) => {
                assert_eq!((ended.rank, ended.is_own), (2, false));
                break;
            }
            other => assert_eq!(other, frame::Came::Message),
        }
    }
    drop(tcp);

    // silent
    let (here, mut there) = streams(2);
    let tcp = Tcp::over(SHORT, 0, here).unwrap();
    let started = Instant::now();
    let text = said(Ranks(&tcp).barrier().unwrap_err());
    assert_eq!(text, "rank 1 has ended: it did not answer for 0.5 s");
    assert!(started.elapsed() >= SHORT.ping * SHORT.pings);
    let asked =
        (0..).take_while(|_| frame::read(&mut there[0], &mut message).is_ok_and(|came| came == frame::Came::Ping));
    assert_eq!(asked.count() + 1, 1, "the message to it comes before");
    drop(tcp);
}

#[test]
fn a_rank_that_takes_nothing_holds_up_no_other_for_ever() {
    let (here, _there) = streams(2);
    let tcp = Tcp::over(SHORT, 0, here).unwrap();
    let length = 1 << 24; // more than systems keep for a reader
    let text = said(exchanged(&tcp, |_| vec![3; length], length).unwrap_err());
    assert_eq!(text, "rank 1 has ended: it did not answer for 0.5 s");
}

#[test]
fn strangers_are_waited_past_and_missing_ranks_are_named() {
    let port = free_port();
    let lines = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let say = |text: &str| lock(&lines).push(text.to_owned());
        let zero = scope.spawn(move || {
            let tcp = Tcp::within(SHORT, &launch(0, 3, "127.0.0.1", port), &say).unwrap();
            Ranks(&tcp).barrier().unwrap();
        });
        let connected = || loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => break stream,
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        };
        let _silent = connected();
        for garbage in
            [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"", b"msharp/1\xff\xff\xff\xff", b"msharp/1\x02\0\0\0hi"]
        {
            connected().write_all(garbage).unwrap();
        }
        let others = [1, 2].map(|rank| {
            scope.spawn(move || {
                thread::sleep(SHORT.notice * 2 * rank as u32);
                let tcp = Tcp::within(SHORT, &launch(rank, 3, "127.0.0.1", port), &|_| {}).unwrap();
                Ranks(&tcp).barrier().unwrap();
            })
        });
        others.into_iter().chain([zero]).for_each(|rank| rank.join().unwrap());
    });
    assert_eq!(*lock(&lines), [format!("waiting for ranks 1, 2 at 127.0.0.1:{port}")]);

    let hasty = Limits { meeting: Duration::from_millis(700), ..SHORT };
    let port = free_port();
    let start = |rank| said(Tcp::within(hasty, &launch(rank, 4, "127.0.0.1", port), &|_| {}).unwrap_err());
    let start = &start;
    let errors: Vec<String> = thread::scope(|scope| {
        let all = [0, 2].map(|rank| scope.spawn(move || start(rank)));
        all.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    assert!(errors[0].starts_with(&format!("ranks 1, 3 did not come to 127.0.0.1:{port} within 0.7 s")), "{errors:?}");
    assert_eq!(errors[0], errors[1]);
    let alone = start(1);
    assert!(alone.starts_with("rank 0 did not come") && alone.contains("refused"), "{alone}");
}

#[test]
fn ranks_of_another_size_run_or_program_are_refused_and_ports_in_use_are_named() {
    let port = free_port();
    thread::scope(|scope| {
        let zero = scope.spawn(move || drop(Tcp::within(SHORT, &launch(0, 2, "::1", port), &|_| {}).unwrap()));
        thread::sleep(Duration::from_millis(100));
        let start = |launch: &Launch| said(Tcp::within(SHORT, launch, &|_| {}).unwrap_err());
        let text = start(&launch(1, 3, "::1", port));
        assert!(text.starts_with("rank 1 has WORLD_SIZE") && text.contains("3, and rank 0 2"), "{text}");
        let mut other = launch(1, 2, "::1", port);
        other.place.as_mut().unwrap().run = "another".to_owned();
        let text = start(&other);
        assert!(text.starts_with("rank 1 has the run \"another\", and rank 0 \"\""), "{text}");
        let text = start(&launch(0, 2, "::1", port));
        assert!(text.contains(&format!("another program listens at MASTER_PORT, {port}")), "{text}");
        drop(Tcp::within(SHORT, &launch(1, 2, "::1", port), &|_| {}).unwrap());
        zero.join().unwrap();
    });
    // a server of something else
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 20]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let text = said(Tcp::within(SHORT, &launch(1, 2, "127.0.0.1", port), &|_| {}).unwrap_err());
    assert!(text.contains("another program than rank 0 answers") && text.contains("MASTER_PORT"), "{text}");
    server.join().unwrap();
    let text = said(Tcp::start(&Launch { place: None, ..launch(0, 2, "", 1) }, &|_| {}).unwrap_err());
    assert!(text.starts_with("WORLD_SIZE is 2, and MASTER_ADDR and MASTER_PORT are not set"), "{text}");
}
