#include "actors/child_process.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>

#include "actors/lifeline.h"
#include "actors/link_actor.h"
#include "actors/log.h"
#include "actors/node_link.h"
#include "actors/router_actor.h"
#include "actors/shard_actor.h"
#include "actors/system.h"
#include "actors/unix_basp.h"
#include "net/clock.h"

namespace troupe {

namespace {

/// Lets the main thread sleep until the process should end.
class EndSignal {
 public:
  void end() {
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_one();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
};

/// Prompts live in this process: no core dump, no ptrace by others.
void protect_memory() {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::prctl(PR_SET_DUMPABLE, 0);
}

[[noreturn]] void leave(int code) {
  std::fflush(nullptr);
  ::_exit(code);  // CAF's own shutdown waits for timers and handles; nothing here needs it
}

void run_shard(caf::actor_system& system, const caf::actor& middleman, const caf::actor& node,
               const ChildStart& start, std::shared_ptr<RankMemory> memory) {
  ShardActorConfig config;
  config.start = start;
  config.node = node;
  config.publish = [&system, middleman, path = start.own_socket](const caf::actor& batcher) {
    return publish_unix(system, middleman, batcher, path);
  };
  config.lane = std::make_shared<DeviceLane>(std::move(memory),
                                             RankListen{start.rank_host, start.rank_ports});
  config.exit = &leave;
  // Detached: publishing blocks for a moment.
  system.spawn<ShardActor, caf::detached>(std::move(config));
}

/// The only process that reads the node's private key.
Result<std::unique_ptr<Link>> run_link(caf::actor_system& system, const caf::actor& node,
                                       const ChildStart& start, int listener) {
  auto link = Link::start({start.node, start.incarnation, listener, start.link,
                           start.limits.scaled(kLinkHandshakeTimeout),
                           start.limits.scaled(kLinkDialTimeout)});
  if (!link) return link;
  LinkActorConfig config;
  config.start = start;
  config.node = node;
  config.stats = [at = link->get()] { return at->stats(); };
  config.cut = [at = link->get()](const std::string& node) { at->cut(node); };
  config.certificate_expires = [at = link->get()] { return at->certificate_expires(); };
  config.refresh = [at = link->get()] { return at->reload_if_replaced(); };
  config.exit = &leave;
  system.spawn<LinkActor>(std::move(config));
  return link;
}

}  // namespace

int run_child(int lifeline) {
  protect_memory();
  auto packet = receive_start(lifeline);
  if (!packet) {
    std::fprintf(stderr, "troupe child: %s\n", packet.error().message.c_str());
    return 70;
  }
  auto start = decode_child_start(packet->bytes);
  if (!start) {
    std::fprintf(stderr, "troupe child: %s\n", start.error().message.c_str());
    return 70;
  }
  start_log(start->json_log ? LogFormat::json : LogFormat::text, start->process);
  EndSignal end;
  SystemConfig system_config;
  caf::actor_system system{system_config};
  const caf::actor middleman = spawn_unix_middleman(system);
  auto node = dial_node(system, middleman, start->node_socket);
  if (!node) {
    log_event(LogLevel::error, node.error().message);
    leave(70);
  }
  std::unique_ptr<Bridge> bridge;
  std::unique_ptr<ActorSink> sink;
  std::unique_ptr<Link> link;
  const auto memory = std::make_shared<RankMemory>();
  const int listener = packet->descriptors.empty() ? -1 : packet->descriptors.front();
  if (start->role == Role::shard) {
    run_shard(system, middleman, *node, *start, memory);
  } else if (start->role == Role::link) {
    auto started = run_link(system, *node, *start, listener);
    if (!started) {
      log_event(LogLevel::error, started.error().message);
      leave(70);
    }
    link = std::move(*started);
  } else {
    RouterActorConfig config;
    config.start = *start;
    config.node = *node;
    config.middleman = middleman;
    auto cache = make_cache(*start);
    if (!cache) {
      log_event(LogLevel::error, cache.error().message);
      leave(70);
    }
    config.cache = *cache;
    const std::shared_ptr<ResponseCache> answers = cache->memory;
    config.exit = &leave;
    const caf::actor router = system.spawn<RouterActor>(std::move(config));
    sink = std::make_unique<ActorSink>(router);
    BridgeConfig setup;
    setup.listener = listener;
    setup.tls_certificate = start->tls_certificate;
    setup.tls_key = start->tls_key;
    setup.api_keys_file = start->api_keys_file;
    setup.exempt_addresses.insert(setup.exempt_addresses.end(), start->trusted_proxies.begin(),
                                  start->trusted_proxies.end());
    setup.hosts = start->hosts;
    setup.tenant_root = start->tenant_root;
    setup.limits = start->limits;
    setup.answers = answers;
    setup.accept = BridgeConfig::Accept::on_open;
    setup.build = start->build;
    setup.node = start->node;
    auto started = Bridge::start(std::move(setup), *sink);
    if (!started) {
      log_event(LogLevel::error, started.error().message);
      leave(70);
    }
    bridge = std::move(*started);
    caf::anon_send(router, local(BridgeUp{bridge.get()}));
  }
  LifelineEvents events;
  events.end = [&] { end.end(); };
  events.reload = [&] {
    if (!bridge && !link) return;
    auto reloaded = bridge ? bridge->reload() : link->reload();
    log_event(reloaded ? LogLevel::info : LogLevel::error,
              reloaded ? "keys and certificate read again" : reloaded.error().message);
  };
  events.memory = [&](GroupId group, Generation generation, FileDescriptor shared) {
    memory->put(group, generation, std::move(shared));
  };
  ChildLifeline beats(lifeline, start->incarnation, std::move(events));
  end.wait();
  // After a drain there are none; a node that was told to end at once does not wait for them.
  if (bridge)
    bridge->fail_all({ErrorCode::unavailable, "The server ends: ask again, or ask another.", ""});
  // The last answers may still be on their way to slow readers.
  const Time flush_by = steady_now() + kFlushMax;
  while (bridge && bridge->connections() > 0 && steady_now() < flush_by)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  leave(0);
}

}  // namespace troupe
