#include "actors/node_process.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "actors/link_plan.h"
#include "actors/node_plan.h"
#include "actors/spawner.h"
#include "actors/state_dir.h"
#include "actors/supervisor_actor.h"
#include "actors/system.h"
#include "actors/unix_basp.h"
#include "net/admin_server.h"
#include "net/file_store.h"
#include "net/json_writer.h"
#include "net/link_metrics.h"
#include "net/listener.h"
#include "net/node_beats.h"

namespace troupe {

namespace {

Incarnation draw_incarnation() {
  uint64_t value = 0;
  if (::getrandom(&value, sizeof value, 0) != sizeof value) std::abort();
  return Incarnation(value);
}

/// Null if the config asks for no digest. `waits` as in FileStoreConfig.
Result<std::unique_ptr<FileStore>> start_files(
    const NodeOptions& options, const StateDir& state,
    std::function<void(const Digest& digest, const std::string& what)> waits) {
  FilePlan plan = plan_files(options.config, options.node, state);
  if (plan.files.empty()) return nullptr;
  FileStoreConfig config;
  config.ways = std::move(plan.ways);
  config.folder = state.models_folder();
  config.files = std::move(plan.files);
  config.waits = std::move(waits);
  config.warned = [](const std::string& what) {
    log_event(LogLevel::warning, "model file", {{"what", what}});
  };
  return FileStore::start(std::move(config));
}

std::string endpoint_json(const NodeOptions& options, const NodePlan& plan, const StateDir& state,
                          const std::string& admin) {
  std::string out;
  JsonWriter w(out);
  w.begin_object()
      .field("pid", int64_t{::getpid()})
      .field("cluster", options.config.cluster)
      .field("node", options.node);
  w.key("http").begin_array();
  for (const auto& [child, address] : plan.addresses) w.string(address);
  w.end_array()
      .field("admin", "http://" + admin)
      .field("token_path", state.token_path())
      .end_object();
  return out + "\n";
}

/// CAF's own shutdown waits for timers and handles; nothing here needs it once the children are
/// gone.
[[noreturn]] void leave_node(int code) {
  std::fflush(nullptr);
  ::_exit(code);
}

/// One plain line a loaded rank: what runs it, and why.
std::vector<std::string> choices_made(const NodeTree& tree) {
  std::vector<std::string> lines;
  for (const ActorStatus& actor : tree.actors)
    if (actor.role == Role::shard && !actor.describe.empty())
      lines.push_back(fmt::format("{} runs on {}", actor.model, actor.describe));
  return lines;
}

[[noreturn]] void give_up(const Error& error) {
  end_log();
  std::fprintf(stderr, "troupe: %s\n", error.message.c_str());
  leave_node(1);
}

}  // namespace

Result<void> run_node(NodeOptions options) {
  const NodeConfig* node = options.config.node(options.node);
  if (!node)
    return fail(ErrorCode::not_found,
                fmt::format("node {} is not in the config; use --name with one of its nodes",
                            options.node));
  // Threads of libgomp that spin between steps cost a whole core each; it reads this when it is
  // loaded.
  ::setenv("OMP_WAIT_POLICY", "passive", 0);
  block_signals();
  start_log(options.log, options.node);
  auto state = StateDir::open(options.state_dir);
  if (!state) return std::unexpected(state.error());
  auto plan = plan_node(options, *state, draw_incarnation());
  if (!plan) return std::unexpected(plan.error());
  auto admin_listener = listen_tcp({"127.0.0.1", node->admin_port});
  if (!admin_listener) return std::unexpected(admin_listener.error());

  SystemConfig system_config;
  caf::actor_system system{system_config};
  const caf::actor middleman = spawn_unix_middleman(system);
  auto tree = std::make_shared<SharedTree>();
  std::mutex outcome_mutex;
  std::optional<Error> outcome;  // guarded: why the node gave up
  caf::actor supervisor;
  auto tell = [&supervisor](NodeInput input) {
    caf::anon_send(supervisor, local(std::move(input)));
  };

  auto stored = start_files(options, *state, [&](const Digest& digest, const std::string& what) {
    for (const auto& [child, wanted] : plan->files)
      if (wanted == digest) tell(node_in::SpawnWaits{child, what});
  });
  if (!stored) give_up(stored.error());
  const std::unique_ptr<FileStore> files = std::move(*stored);

  SpawnerEvents events;
  events.spawned = [&](const std::string& child, Incarnation i, int64_t pid) {
    tell(node_in::Spawned{child, i, pid});
  };
  events.spawn_failed = [&](const std::string& child, std::string why) {
    tell(node_in::SpawnFailed{child, std::move(why)});
  };
  events.exited = [&](const std::string& child, Incarnation i, std::string how) {
    tell(node_in::Exited{child, i, std::move(how)});
  };
  events.beat = [&](const std::string& child, const Beat& beat) {
    caf::anon_send(supervisor, local(BeatNote{child, Incarnation(beat.incarnation)}));
  };
  Spawner* spawner_address = nullptr;
  events.signal = [&](int signal) {
    if (signal == SIGHUP) {
      spawner_address->reload_all();
      return;
    }
    tell(node_in::Drain{});
    if (files) files->end_waiting();
  };
  std::optional<Spawner> children(std::in_place, std::move(events));
  Spawner& spawner = *children;
  spawner_address = &spawner;

  SupervisorActorConfig setup;
  setup.machine = plan->machine;
  setup.starts = plan->starts;
  setup.descriptors = plan->descriptors;
  for (const NodeConfig& each : options.config.nodes) setup.nodes.push_back(each.name);
  setup.doors = plan->doors;
  setup.middleman = middleman;
  setup.prepare = [&](ChildStart start, std::function<void(const ChildStart&)> go) {
    const auto file = plan->files.find(start.process);
    if (file == plan->files.end()) return go(start);
    files->want(file->second, [&, start, go = std::move(go)](const Result<std::string>& path) {
      if (!path) return tell(node_in::SpawnFailed{start.process, path.error().message});
      ChildStart prepared = start;
      prepared.model_file = *path;
      go(prepared);
    });
  };
  setup.spawn = [&](SpawnCommand command) { spawner.spawn(std::move(command)); };
  setup.end = [&](EndCommand command) { spawner.end(std::move(command)); };
  setup.share = [&](ShareCommand command) { spawner.share(std::move(command)); };
  setup.draw_incarnation = &draw_incarnation;
  setup.tree = tree;
  setup.serving = [&, said = std::set<std::string>()](const std::string& router) mutable {
    if (options.log == LogFormat::text)
      for (const std::string& line : choices_made(tree->get()))
        if (said.insert(line).second) std::fprintf(stderr, "troupe: %s\n", line.c_str());
    std::printf("ready %s\n", plan->addresses.at(router).c_str());
    std::fflush(stdout);
  };
  setup.load_failed = [&](const Error& error) {
    if (options.on_load_failure == OnLoadFailure::retry) return;
    std::lock_guard lock(outcome_mutex);
    if (!outcome) outcome = error;
    spawner.stop();
  };
  setup.stopped = [&] { spawner.stop(); };
  setup.exit = &leave_node;
  supervisor = system.spawn<SupervisorActor>(std::move(setup));
  if (auto published = publish_unix(system, middleman, supervisor, state->node_socket());
      !published)
    give_up(published.error());

  std::unique_ptr<NodeBeats> beats;
  if (options.config.nodes.size() > 1) {
    auto started = NodeBeats::start(
        {{options.node, plan->machine.incarnation},
         plan_beats(options.config, options.node, *state),
         options.config.limits.scaled(kDeadAfter),
         [&supervisor](const NodeBeat& beat) {
           caf::anon_send(supervisor, local(BeatNote{beat.node, beat.incarnation}));
         },
         [](const std::string& why) {
           log_event(LogLevel::warning, "beats refused", {{"why", why}});
         }});
    if (!started) give_up(started.error());
    beats = std::move(*started);
  }

  AdminConfig admin;
  admin.listener = admin_listener->fd;
  admin.token = state->admin_token();
  admin.tree = [tree, cluster = options.config.cluster] {
    return status_json(cluster, tree->all());
  };
  admin.actor = [tree](const std::string& id) {
    for (const NodeTree& each : tree->all())
      if (std::string found = actor_json(each, id); !found.empty()) return found;
    return std::string();
  };
  admin.metrics = [tree, &beats, &files] {
    return node_metrics_text(tree->get()) + (beats ? beat_metrics_text(beats->stats()) : "") +
           (files ? file_metrics_text(files->stats()) : "");
  };
  auto admin_server = AdminServer::start(std::move(admin));
  if (!admin_server) give_up(admin_server.error());
  if (auto written = state->write_endpoint(
          endpoint_json(options, *plan, *state, to_string(admin_listener->address)));
      !written)
    give_up(written.error());

  tell(node_in::Start{});
  spawner.run();
  children.reset();  // what still runs is killed and reaped
  std::lock_guard lock(outcome_mutex);
  if (outcome) give_up(options.reword ? options.reword(*outcome) : *outcome);
  leave_node(0);
}

}  // namespace troupe
