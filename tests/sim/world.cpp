#include "tests/sim/world.h"

#include <algorithm>
#include <cstdio>

namespace troupe::sim {

World::~World() {
  // Processes hold links and links hold processes.
  for (const LinkPtr& link : links_) {
    for (Link::End& end : link->ends) end = {};
  }
}

void World::post(const ProcessPtr& process, Duration delay, std::function<void()> what) {
  at(now_ + delay,
     [this, process, what = std::move(what)]() mutable { run_or_hold(process, std::move(what)); });
}

void World::run_or_hold(const ProcessPtr& process, std::function<void()> what) {
  if (!process->alive) return;
  if (now_ < process->stopped_until) {
    process->held.push_back(std::move(what));
  } else {
    what();
  }
}

bool World::run_event() {
  if (events_.empty()) return false;
  Event event = std::move(const_cast<Event&>(events_.top()));
  events_.pop();
  now_ = event.time;
  ++events_run_;
  event.what();
  return true;
}

void World::stop(const ProcessPtr& process, Duration duration) {
  if (!process->alive || now_ < process->stopped_until) return;
  trace(process->name, "stopped for {} ms", to_ms(duration));
  process->stopped_since = now_;
  process->stopped_until = now_ + duration;
  at(now_ + duration, [this, process, until = process->stopped_until] {
    if (process->stopped_until == until) resume(process);
  });
}

void World::resume(const ProcessPtr& process) {
  if (process->stopped_until == Time{}) return;
  process->stopped_until = Time{};
  if (!process->alive) return;
  trace(process->name, "goes on");
  process->resumed(now_ - process->stopped_since);
  while (process->alive && now_ >= process->stopped_until && !process->held.empty()) {
    auto what = std::move(process->held.front());
    process->held.pop_front();
    what();
  }
}

LinkPtr World::connect(const ProcessPtr& a, const ProcessPtr& b, std::function<void()> a_lost,
                       std::function<void()> b_lost) {
  auto link = std::make_shared<Link>();
  link->ends[0] = {a, std::move(a_lost), {}};
  link->ends[1] = {b, std::move(b_lost), {}};
  links_.push_back(link);
  return link;
}

void World::send(const LinkPtr& link, const Process& from, std::function<void()> what) {
  if (link->closed) return;
  Link::End& to = link->ends[link->ends[0].process.get() == &from ? 1 : 0];
  to.last = std::max(to.last, now_ + between(20us, delay_max));
  at(to.last, [this, link, process = to.process, what = std::move(what)]() mutable {
    if (!link->cut) run_or_hold(process, std::move(what));
  });
}

void World::tell_lost(const LinkPtr& link, int end, Duration after) {
  Link::End& e = link->ends[end];
  if (!e.process->alive) return;
  at(std::max(e.last, now_ + after),
     [this, process = e.process, lost = e.lost] { run_or_hold(process, lost); });
}

void World::die(const ProcessPtr& process) {
  if (!process->alive) return;
  trace(process->name, "dies");
  process->alive = false;
  process->held.clear();
  for (const LinkPtr& link : links_) {
    for (int end : {0, 1}) {
      if (link->ends[end].process != process || link->closed) continue;
      link->closed = true;
      tell_lost(link, 1 - end, between(50us, 2ms));
    }
  }
}

void World::cut(const LinkPtr& link) {
  if (link->closed) return;
  trace("link", "{} - {} is cut", link->ends[0].process->name, link->ends[1].process->name);
  link->closed = link->cut = true;
  for (int end : {0, 1}) {
    link->ends[end].last = now_;
    tell_lost(link, end, between(50us, 20ms));
  }
}

std::vector<LinkPtr> World::open_links() const {
  std::vector<LinkPtr> open;
  std::ranges::copy_if(links_, std::back_inserter(open),
                       [](const LinkPtr& l) { return !l->closed; });
  return open;
}

void World::violation(std::string what) {
  trace("CHECK", "{}", what);
  if (violation_.empty()) {
    violation_ = fmt::format("at {:.6f} s: {}", to_seconds(now_.time_since_epoch()), what);
  }
}

void World::print(const std::string& who, const std::string& what) const {
  std::fputs(
      fmt::format("{:11.6f} {:<22} {}\n", to_seconds(now_.time_since_epoch()), who, what).c_str(),
      stdout);
}

}  // namespace troupe::sim
