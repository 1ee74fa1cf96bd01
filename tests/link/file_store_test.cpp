// Model files between nodes, over real sockets, disks and links.
#include "tests/link/file_store_fixture.h"

namespace troupe::testing {

TEST_CASE("file store: a file that is there and right is used where it is") {
  Pair pair;
  pair.n1.want();
  CHECK(pair.n1.path() == pair.n1.source());
  CHECK(pair.n1.warned().empty());
  CHECK(fs::status(pair.n1.folder()).permissions() == fs::perms::owner_all);
}

TEST_CASE("file store: a missing file comes from a peer, byte for byte") {
  Pair pair;
  pair.n2.want();
  CHECK(pair.n2.path() == pair.n2.copy());
  CHECK(read_file(pair.n2.copy()) == pair.bytes);
  CHECK_FALSE(fs::exists(pair.n2.part()));
  CHECK((fs::status(pair.n2.copy()).permissions() & fs::perms(077)) == fs::perms::none);
  CHECK(wait_until([&] { return pair.n2->stats().fetched == 1; }));
  CHECK(pair.n2->stats().received == pair.bytes.size());
  CHECK(wait_until([&] { return pair.n1->stats().sender.sent == 1; }));
  CHECK(pair.n1->stats().sender.bytes == pair.bytes.size());
  // Another life needs no peer.
  pair.n1.stop();
  pair.n2.start();
  pair.n2.want();
  CHECK(pair.n2.path() == pair.n2.copy());
  // And sends it to others as well.
  CHECK(ask(pair.n2, pair.digest) == Played::rest(pair.bytes, 0));
}

TEST_CASE("file store: the link carries it, and a link that is killed only interrupts it") {
  TwoLinks links;
  const std::string bytes = model_bytes();
  const Digest digest = sha256(bytes);
  Store n1(links.dir, "n1", digest, {.doors = {{"n2", links.door("files")}}});
  fs::remove(links.files.path());
  FileStoreConfig config;
  config.ways.socket = links.files.path();
  config.folder = links.dir / "n2-models";
  config.files = {{digest, links.dir / "n2.gguf"}};
  config.bytes_per_second = 4 * kMiB;  // three chunks: half a second, in which the link dies
  config.waits = [](const Digest&, const std::string&) {};
  config.warned = [](const std::string&) {};
  write_file(config.files.front().source, bytes);
  auto n2 = FileStore::start(std::move(config));
  REQUIRE(n2.has_value());
  n1.want();
  CHECK(wait_until([&] { return n1->stats().received > 0; }));
  links.n2.reset();
  CHECK(n1.says("n2 hung up at byte "));
  const uint64_t had = fs::file_size(n1.part());
  CHECK(had > 0);
  links.start_n2();
  CHECK(n1.path() == n1.copy());
  CHECK(read_file(n1.copy()) == bytes);
  CHECK(n1->stats().received <= bytes.size());  // nothing came twice
}

TEST_CASE("file store: a part of a former life is gone on with, and a wrong one is begun anew") {
  {
    Pair pair;
    write_file(pair.n2.part(), std::string_view(pair.bytes).substr(0, 1'500'000));
    pair.n2.want();
    CHECK(pair.n2.path() == pair.n2.copy());
    CHECK(read_file(pair.n2.copy()) == pair.bytes);
    CHECK(pair.n2->stats().received == pair.bytes.size() - 1'500'000);
    CHECK(pair.n2.warned().empty());
  }
  for (const std::string& junk :
       {std::string(1'500'000, 'x'), std::string(model_bytes().size(), 'x'),
        std::string(model_bytes().size() + 1, 'x')}) {
    Pair pair;
    write_file(pair.n2.part(), junk);
    pair.n2.want();
    CHECK(pair.n2.path() == pair.n2.copy());
    CHECK(read_file(pair.n2.copy()) == pair.bytes);
    CHECK(pair.n2.warned().find(": it is fetched anew") != std::string::npos);
    CHECK(wait_until([&] { return pair.n2->stats().wrong == 1; }));
  }
}

TEST_CASE("file store: a byte that is wrong on the way is found, and the file is fetched anew") {
  Played played;
  played.n2.want();
  std::string bad = played.bytes;
  bad[1'234'567] ^= 1;
  {
    Socket first = played.asked();
    REQUIRE(first.send(Played::rest(bad, 0)));
    CHECK(first.at_end());
  }
  Socket second = played.asked();
  CHECK_FALSE(played.n2.got().has_value());
  CHECK_FALSE(fs::exists(played.n2.copy()));
  REQUIRE(second.send(Played::rest(played.bytes, 0)));
  CHECK(played.n2.path() == played.n2.copy());
  CHECK(played.n2.warned().find("what came from n1 has sha256 " + to_hex(sha256(bad)) +
                                ", the config asks for " + to_hex(played.digest)) == 0);
}

TEST_CASE("file store: a peer that sends wrong bytes again is not believed") {
  Played played;
  played.n2.want();
  const std::string bad = model_bytes(8);
  for (int i = 0; i < 2; ++i) {
    Socket peer = played.asked();
    REQUIRE(peer.send(Played::rest(bad, 0)));
    CHECK(peer.at_end());
  }
  CHECK(played.n2.says("what came from n1 has sha256 " + to_hex(sha256(bad)) +
                       ", the config asks for " + to_hex(played.digest) +
                       ", also when it was fetched anew; compare the files of the nodes"));
  CHECK_FALSE(played.n2.got().has_value());
  CHECK_FALSE(fs::exists(played.n2.copy()));
  CHECK_FALSE(fs::exists(played.n2.part()));
}

TEST_CASE("file store: a peer that dies in the middle is asked for the rest when it is back") {
  Played played;
  played.n2.want();
  constexpr size_t kFirst = 600'000;
  {
    Socket peer = played.asked();
    REQUIRE(peer.send(Played::yes(played.bytes.size()) +
                      Played::chunk(std::string_view(played.bytes).substr(0, kFirst))));
    // Half a chunk more, which counts as far as it came.
    REQUIRE(peer.send(std::string(text(encode_file_chunk_head(1'000))) +
                      played.bytes.substr(kFirst, 400)));
    CHECK(wait_until([&] { return played.n2->stats().received == kFirst + 400; }));
  }
  Socket back = played.asked(kFirst + 400);
  REQUIRE(back.send(Played::rest(played.bytes, kFirst + 400)));
  CHECK(played.n2.path() == played.n2.copy());
  CHECK(read_file(played.n2.copy()) == played.bytes);
  CHECK(played.n2.warned().empty());
}

TEST_CASE("file store: what peers may not send is not taken") {
  auto broken_by = [](const std::string& answer) {
    Played played;
    played.n2.want();
    Socket peer = played.asked();
    REQUIRE(peer.send(answer));
    return played.n2.says("n1 sent what it may not: the answer for a model file is wrong");
  };
  CHECK(broken_by("HTTP/1.1 200 OK\r\n\r\n"));
  CHECK(broken_by(Played::yes(10) + Played::chunk("more than ten")));
  CHECK(broken_by(Played::yes(10) + std::string(4, '\xff')));

  Played refused;
  refused.n2.want();
  Socket peer = refused.asked();
  REQUIRE(peer.send(no(FileRefusal::unknown)));
  CHECK(refused.n2.says(refused.n2.source() + " is not there, and no other node sends it (n1 does "
                                              "not have it); put the right file there, or start a "
                                              "node that has it"));
  Played given_up;
  given_up.n2.want();
  Socket halfway = given_up.asked();
  REQUIRE(halfway.send(Played::yes(10) + Played::chunk("12345") + std::string(4, '\0')));
  CHECK(given_up.n2.says("n1 can't read its file on behind byte 5"));
}

TEST_CASE("file store: a file over the limit is neither taken nor sent") {
  TempDir dir;
  const std::string bytes = model_bytes();
  const Digest digest = sha256(bytes);
  const auto limit = static_cast<int64_t>(bytes.size()) - 1;
  Store n1(dir, "n1", digest);
  write_file(n1.source(), bytes);
  Store n2(dir, "n2", digest, {.doors = {{"n1", n1.socket()}}, .bytes_max = limit});
  n2.want();
  CHECK(n2.says("n1 has one of " + std::to_string(bytes.size()) + " bytes, the limit is " +
                std::to_string(limit)));
  CHECK(fs::file_size(n2.part()) == 0);
  write_file(n2.source(), bytes);
  CHECK(ask(n2, digest) == no(FileRefusal::unknown));
  CHECK(n2.says(n2.source() + " has " + std::to_string(bytes.size()) + " bytes, the limit is"));
}

TEST_CASE("file store: another file at the source is told with both digests and not used") {
  Pair pair;
  write_file(pair.n2.source(), "something else");
  const std::string differs = pair.n2.source() + " has sha256 " + to_hex(sha256("something else")) +
                              ", the config asks for " + to_hex(pair.digest);
  pair.n2.want();
  CHECK(pair.n2.path() == pair.n2.copy());
  CHECK(pair.n2.warned() ==
        differs + ": the copy fetched from another node is used; put the right file there\n");

  Store alone(pair.dir, "n3", pair.digest);
  write_file(alone.source(), "something else");
  alone.want();
  CHECK(alone.says("/n3.gguf has sha256 " + to_hex(sha256("something else")) +
                   ", the config asks for " + to_hex(pair.digest) + "; put the right file there"));
  CHECK_FALSE(alone.got().has_value());
  // Once it is there it is found.
  write_file(alone.source(), pair.bytes);
  CHECK(alone.path() == alone.source());
}

TEST_CASE("file store: what is no single file is refused in words") {
  TempDir dir;
  Store n1(dir, "n1", sha256("x"));
  fs::create_directory(n1.source());
  n1.want();
  CHECK(n1.says("/n1.gguf is no file, and sha256 is that of one file; put the right file there"));
  Store n2(dir, "n2", sha256(""));
  write_file(n2.source(), "");
  n2.want();
  CHECK(n2.says("/n2.gguf is empty; put the right file there"));
}

TEST_CASE("file store: who waits when the node ends is told, and who comes later too") {
  TempDir dir;
  Store n1(dir, "n1", sha256("x"));
  n1.want();
  CHECK(n1.says("is not there"));
  n1->end_waiting();
  REQUIRE(wait_until([&] { return n1.got().has_value(); }));
  CHECK(n1.got()->error().code == ErrorCode::cancelled);
  n1.want();
  REQUIRE(wait_until([&] { return n1.got().has_value(); }));
  CHECK(n1.got()->error().message == "the node ends");
}

TEST_CASE("file store: a part is never written through a link, nor where something else lies") {
  Pair pair;
  const std::string elsewhere = pair.dir / "elsewhere";
  write_file(elsewhere, "untouched");
  fs::create_symlink(elsewhere, pair.n2.part());
  pair.n2.want();
  CHECK(pair.n2.says(pair.n2.part() + " can't be written (Too many levels of symbolic links); look "
                                      "at the state directory"));
  CHECK(read_file(elsewhere) == "untouched");

  TempDir other;
  Store n3(other, "n3", pair.digest, {.doors = {{"n1", pair.n1.socket()}}});
  write_file(other / "hard", "untouched");
  fs::create_hard_link(other / "hard", n3.part());
  n3.want();
  CHECK(n3.says(n3.part() + " can't be written (it is something else); look at the state"));
  CHECK(read_file(other / "hard") == "untouched");
}

TEST_CASE("file store: without a place for its socket or folder a node is told so") {
  FileStoreConfig config;
  config.folder = "/nowhere/models";
  auto store = FileStore::start(config);
  REQUIRE_FALSE(store.has_value());
  CHECK(store.error().message ==
        "the folder /nowhere/models can't be made (No such file or directory); choose another with "
        "--state");
  TempDir dir;
  config.folder = dir / "models";
  config.ways.socket = "/nowhere/f";
  store = FileStore::start(config);
  REQUIRE_FALSE(store.has_value());
  CHECK(store.error().code == ErrorCode::conflict);
}

}  // namespace troupe::testing
