//! Clients that take the place of former ones, and what becomes of these.

use std::sync::mpsc::channel;

use super::peers::*;
use super::secure::tells_how_it_began;
use super::*;

/// More than any of this takes.
const BOUND: Duration = Duration::from_secs(20);

/// A request for `/held` is answered when the test says so, all others at once. The numbers of connections are sent as
/// they end.
#[test]
fn a_call_ends_with_the_client_that_it_began_with_and_nothing_of_that_one_rests() {
    let ((arrived, arrivals), (open, opened), (ended, ends)) = (channel(), channel::<()>(), channel());
    let gates = Mutex::new((arrived, opened, ended));
    let port = serve(move |number, stream| {
        while let Some((head, _)) = read_request(stream) {
            if head.starts_with("GET /held ") {
                let gates = gates.lock().unwrap();
                gates.0.send(()).unwrap();
                gates.1.recv().unwrap();
            }
            stream.write_all(&reply(number.to_string().as_bytes())).unwrap();
        }
        gates.lock().unwrap().2.send(number).unwrap();
    });
    let url = format!("http://127.0.0.1:{port}/");
    let net = Net::new(&network(None)).unwrap();
    let former = client_of(&net, &server(&url)).unwrap();
    let held = std::thread::scope(|scope| {
        let held = scope.spawn(|| get(&former, &format!("{url}held")).unwrap());
        arrivals.recv().unwrap();
        // A second connection, which rests.
        assert_eq!(get(&former, &url).unwrap(), "1");
        let renewed = net.renewed(&network(None)).unwrap();
        let mut next = client_of(&renewed, &server(&url)).unwrap();
        next.replace(&former);
        open.send(()).unwrap();
        let held = held.join().unwrap();
        assert_eq!((get(&next, &url).unwrap(), get(&next, &url).unwrap()), ("2".into(), "2".into()));
        // One that is swept by the former, which lives as long as somebody sweeps.
        net.sweep();
        // While the connection of the next one is kept.
        let mut gone = [ends.recv_timeout(BOUND).unwrap(), ends.recv_timeout(BOUND).unwrap()];
        gone.sort_unstable();
        assert_eq!(gone, [0, 1]);
        held
    });
    assert_eq!(held, "0");
}

#[test]
fn a_shutdown_reaches_what_former_clients_began() {
    let (arrived, arrivals) = channel();
    let arrived = Mutex::new(arrived);
    let port = serve(move |_, stream| {
        while read_request(stream).is_some() {
            arrived.lock().unwrap().send(()).unwrap();
        }
    });
    let url = format!("http://127.0.0.1:{port}/");
    let net = Net::new(&network(None)).unwrap();
    let former = client_of(&net, &server(&url)).unwrap();
    let (mut second, mut third) =
        (client_of(&net, &server(&url)).unwrap(), client_of(&net, &server(&url)).unwrap());
    std::thread::scope(|scope| {
        let held = [&former, &former].map(|client| scope.spawn(|| get(client, &url).unwrap_err()));
        arrivals.recv().unwrap();
        arrivals.recv().unwrap();
        second.replace(&former);
        third.replace(&second);
        third.shutdown();
        for held in held {
            assert_eq!(held.join().unwrap().kind, Kind::Shutdown);
        }
    });
    assert_eq!(get(&former, &url).unwrap_err().kind, Kind::Shutdown);
}

#[test]
fn bundle_roots_and_sessions_are_those_of_the_new_room() {
    let (one, two) = (Authority::new("One CA"), Authority::new("Two CA"));
    let urls = [&one, &two].map(|authority| tells_how_it_began(authority.server(Some(false))));
    let bundle = one.bundle();
    let mut settings = network(Some(&bundle));
    let net = Net::new(&settings).unwrap();
    let former = client_of(&net, &server(&urls[0])).unwrap();
    let kinds = |client: &Client| [0, 1].map(|_| get(client, &urls[0]).unwrap());
    assert_eq!(kinds(&former), ["Full", "Resumed"]);
    // Sessions with a client certificate are forgotten with its client, all others with the room.
    let mut identified = server(&urls[0]);
    identified.identity = Some(one.identity("agent"));
    for _ in 0..2 {
        assert_eq!(kinds(&client_of(&net, &identified).unwrap()), ["Full", "Resumed"]);
    }
    let renewed = net.renewed(&settings).unwrap();
    assert_eq!(kinds(&client_of(&renewed, &server(&urls[0])).unwrap()), ["Full", "Resumed"]);

    // Half a file changes nothing, and is said, although a whole certificate stands in it.
    let [first, second] = [&two, &one].map(|authority| std::fs::read_to_string(authority.bundle()).unwrap());
    for half in
        ["-----BEGIN CERTIFICATE-----\nMIIB", &format!("{first}{}", second.split_at(second.len() / 2).0)]
    {
        std::fs::write(&bundle, half).unwrap();
        assert_eq!(net.renewed(&settings).unwrap_err().kind, Kind::Setup, "{half}");
    }
    get(&former, &urls[0]).unwrap();

    std::fs::copy(two.bundle(), &bundle).unwrap();
    let next = net.renewed(&settings).unwrap();
    assert_eq!(get(&client_of(&net, &server(&urls[1])).unwrap(), &urls[1]).unwrap_err().kind, Kind::Tls);
    let [first, second] = [0, 1].map(|of| get(&client_of(&next, &server(&urls[of])).unwrap(), &urls[of]));
    assert_eq!(first.unwrap_err().kind, Kind::Tls);
    second.unwrap();

    // The built-in roots stand in for others at a start alone.
    settings.roots = crate::config::Roots::Webpki;
    assert_eq!(net.renewed(&settings).unwrap_err().kind, Kind::Setup);
    let built_in = Net::new(&settings).unwrap();
    client_of(&built_in, &server(&urls[1])).unwrap();
    built_in.renewed(&settings).unwrap();

    // What the start finds is found here too, although nobody has asked for a client yet.
    settings.roots = crate::config::Roots::Automatic;
    settings.ssl_cert_file = Some(one.directory.join("none"));
    assert_eq!(net.renewed(&settings).unwrap_err().kind, Kind::Setup);
}

#[test]
fn authorities_are_taken_over_beside_a_client_certificate_that_cannot_be() {
    let (one, two) = (Authority::new("One CA"), Authority::new("Two CA"));
    let url = tells_how_it_began(two.server(Some(true)));
    let bundle = one.bundle();
    let settings = network(Some(&bundle));
    let (net, mut server) = (Net::new(&settings).unwrap(), server(&url));
    let identity = two.identity("agent");
    let (key, path) = (std::fs::read(&identity.key).unwrap(), identity.key.clone());
    server.identity = Some(identity);
    assert_eq!(get(&client_of(&net, &server).unwrap(), &url).unwrap_err().kind, Kind::Tls);

    std::fs::copy(two.bundle(), &bundle).unwrap();
    std::fs::write(&path, &key[..key.len() / 2]).unwrap();
    let renewed = net.renewed(&settings).unwrap();
    assert_eq!(client_of(&renewed, &server).unwrap_err().kind, Kind::Setup);
    get(&client_of(&renewed.forgiving(), &server).unwrap(), &url).unwrap();
    assert_eq!(client_of(&Net::new(&settings).unwrap().forgiving(), &server).unwrap_err().kind, Kind::Setup);
}
