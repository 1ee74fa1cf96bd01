#include "actors/link_actor.h"

#include <fmt/format.h>

#include "actors/log.h"
#include "actors/node_link.h"

namespace troupe {

LinkActor::LinkActor(caf::actor_config& config, LinkActorConfig setup)
    : caf::event_based_actor(config), setup_(std::move(setup)), second_(this) {
  die_on_exception(this, "link");
}

caf::behavior LinkActor::make_behavior() {
  set_down_handler(
      [this](caf::down_msg&) { setup_.exit(70); });  // the node can't be heard any more
  monitor(setup_.node);
  send(setup_.node, wire(setup_.start.incarnation, hello_of(setup_.start)));
  next_look_ = now_of(this) + kLinkReportInterval;
  second_.arm();
  return {
      [this](const WireBytes& bytes) { on_bytes(bytes); },
      [this](second_atom) {
        report();
        if (now_of(this) >= next_look_) look_back();
        second_.arm();
      },
  };
}

void LinkActor::on_bytes(const WireBytes& bytes) {
  auto envelope = decode(bytes);
  if (!envelope) {
    log_event(LogLevel::warning, "message dropped", {{"why", envelope.error().message}});
    return;
  }
  if (const auto* cut = std::get_if<CutOrder>(&envelope->message)) {
    log_event(LogLevel::warning, "streams cut", {{"node", cut->node}});
    setup_.cut(cut->node);
    return;
  }
  const auto* reply = std::get_if<HelloReply>(&envelope->message);
  if (!reply || reply->accepted) return;
  log_event(LogLevel::error, "the node refused this process", {{"why", reply->reason}});
  setup_.exit(70);
}

void LinkActor::report() {
  const LinkStats now = setup_.stats();
  ProcessReport report;
  report.process = setup_.start.process;
  report.incarnation = setup_.start.incarnation;
  report.describe = fmt::format("{} streams, {} MB in, {} MB out", now.open,
                                now.bytes_in / 1'000'000, now.bytes_out / 1'000'000);
  report.actors = {
      {setup_.start.process, Role::link, 0, "", mailbox().size(), second_.lateness(), {}}};
  report.link = LinkFigures{now.accepted,
                            now.dialled,
                            now.ended,
                            now.open,
                            now.unauthenticated,
                            now.bytes_in,
                            now.bytes_out,
                            {now.refused.begin(), now.refused.end()},
                            {now.failed.begin(), now.failed.end()},
                            setup_.certificate_expires().time_since_epoch().count()};
  send(setup_.node, wire(setup_.start.incarnation, std::move(report)));
}

void LinkActor::look_back() {
  next_look_ = now_of(this) + kLinkReportInterval;
  const LinkStats now = setup_.stats();
  if (const std::string refused = refusals_between(seen_, now); !refused.empty())
    log_event(LogLevel::warning, "connections between hosts came to nothing", {{"what", refused}});
  seen_ = now;
  auto refreshed = setup_.refresh();
  if (!refreshed)
    log_event(LogLevel::error, "the old certificate stays", {{"why", refreshed.error().message}});
  else if (*refreshed)
    log_event(LogLevel::info, "replaced certificate in use");
}

}  // namespace troupe
