#include "actors/unix_basp.h"

#include <fmt/format.h>

#include <caf/io/all.hpp>
#include <caf/io/basp_broker.hpp>
#include <caf/io/middleman_actor_impl.hpp>
#include <caf/io/network/default_multiplexer.hpp>
#include <caf/io/network/doorman_impl.hpp>
#include <caf/io/network/scribe_impl.hpp>
#include <random>

#include "config/limits.h"
#include "net/unix_socket.h"

// CAF makes its node id from MAC addresses, the root UUID and this number. Two containers whose
// node is PID 1 would collide, so the number is random for each process.
namespace caf::detail {
unsigned get_process_id() {
  static const unsigned kValue = std::random_device{}();
  return kValue;
}
}  // namespace caf::detail

namespace troupe {

namespace {

// The stock classes ask the socket for its IP address; these two answer with a name. That of an
// accepted connection is whom it speaks for.
struct UnixScribe : caf::io::network::scribe_impl {
  UnixScribe(caf::io::network::default_multiplexer& multiplexer, caf::io::network::native_socket fd)
      : scribe_impl(multiplexer, fd), speaker(unix_speaker(fd)) {}
  std::string addr() const override { return speaker; }
  uint16_t port() const override { return 1; }
  std::string speaker;
};

struct UnixDoorman : caf::io::network::doorman_impl {
  using doorman_impl::doorman_impl;
  std::string addr() const override { return "unix"; }
  uint16_t port() const override { return 1; }
  bool new_connection() override {
    if (detached()) return false;
    auto& multiplexer = acceptor_.backend();
    auto fd = acceptor_.accepted_socket();
    caf::io::network::nonblocking(fd, true);
    auto scribe = caf::make_counted<UnixScribe>(multiplexer, fd);
    auto handle = scribe->hdl();
    parent()->add_scribe(std::move(scribe));
    return doorman::new_connection(&multiplexer, handle);
  }
};

caf::io::network::default_multiplexer& multiplexer_of(caf::actor_system& system) {
  return dynamic_cast<caf::io::network::default_multiplexer&>(system.middleman().backend());
}

struct UnixMiddleman : caf::io::middleman_actor_impl {
  using middleman_actor_impl::middleman_actor_impl;
  caf::expected<caf::io::scribe_ptr> connect(const std::string& path, uint16_t) override {
    auto fd = dial_unix(path);
    if (!fd) return caf::sec::cannot_connect_to_node;
    return caf::io::scribe_ptr(caf::make_counted<UnixScribe>(multiplexer_of(system()), *fd));
  }
  caf::expected<caf::io::doorman_ptr> open(uint16_t, const char* path, bool) override {
    auto fd = listen_unix(path ? path : "");
    if (!fd) return caf::sec::cannot_open_port;
    return caf::io::doorman_ptr(caf::make_counted<UnixDoorman>(multiplexer_of(system()), *fd));
  }
};

}  // namespace

caf::actor spawn_unix_middleman(caf::actor_system& system) {
  auto basp = system.middleman().named_broker<caf::io::basp_broker>(caf::atom("BASP"));
  return caf::actor_cast<caf::actor>(system.spawn<UnixMiddleman, caf::hidden>(basp));
}

Result<void> publish_unix(caf::actor_system& system, const caf::actor& middleman,
                          const caf::actor& service, const std::string& path) {
  if (path.size() > kUnixPathMax)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the socket path {} has {} characters, at most {} are possible; use a "
                            "shorter state directory",
                            path, path.size(), kUnixPathMax));
  Result<void> result;
  caf::scoped_actor self{system};
  self->request(middleman, std::chrono::seconds(3), caf::publish_atom::value, uint16_t{1},
                caf::actor_cast<caf::strong_actor_ptr>(service), std::set<std::string>{}, path,
                true)
      .receive([](uint16_t) {},
               [&](const caf::error& error) {
                 result = fail(
                     ErrorCode::conflict,
                     fmt::format("the socket {} can't be opened ({}); check the state directory",
                                 path, system.render(error)));
               });
  return result;
}

}  // namespace troupe
