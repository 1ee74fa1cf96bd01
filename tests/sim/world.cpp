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
  process->stopping();
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
  link->ends[0].process = a;
  link->ends[0].lost = std::move(a_lost);
  link->ends[1].process = b;
  link->ends[1].lost = std::move(b_lost);
  links_.push_back(link);
  return link;
}

void World::send(const LinkPtr& link, const Process& from, std::function<void()> what) {
  if (link->closed) return;
  const int end = link->ends[0].process.get() == &from ? 1 : 0;
  Link::End& to = link->ends[end];
  to.last = std::max(to.last, now_ + between(20us, delay_max));
  at(to.last,
     [this, link, end, what = std::move(what)]() mutable { arrive(link, end, std::move(what)); });
}

void World::arrive(const LinkPtr& link, int end, std::function<void()> what) {
  Link::End& to = link->ends[end];
  if (link->cut || to.told) return;
  if (!to.held.empty() || !is_open(link->ends[1 - end].process->host, to.process->host)) {
    to.held.push_back(std::move(what));
  } else {
    run_or_hold(to.process, std::move(what));
  }
}

std::function<void()> World::loss(const LinkPtr& link, int end) {
  return [this, link, end] {
    Link::End& e = link->ends[end];
    if (e.told) return;
    e.told = true;
    run_or_hold(e.process, e.lost);
  };
}

/// This end finds out by itself.
void World::tell_lost(const LinkPtr& link, int end, Duration after) {
  Link::End& e = link->ends[end];
  if (e.process->alive) at(std::max(e.last, now_ + after), loss(link, end));
}

/// The other end's kernel says so.
void World::send_loss(const LinkPtr& link, int end, Duration after) {
  Link::End& e = link->ends[end];
  if (!e.process->alive) return;
  at(std::max(e.last, now_ + after), [this, link, end] { arrive(link, end, loss(link, end)); });
}

void World::die(const ProcessPtr& process, Death how) {
  if (!process->alive) return;
  trace(process->name, "dies");
  process->alive = false;
  process->vanished = how == Death::vanishes;
  process->held.clear();
  for (const LinkPtr& link : links_) {
    for (int end : {0, 1}) {
      if (link->ends[end].process != process || link->closed) continue;
      link->closed = true;
      if (how == Death::vanishes && link->ends[1 - end].process->host != process->host)
        tell_lost(link, 1 - end, between(4s, 5s));  // CAF's own heartbeat
      else
        send_loss(link, 1 - end, between(50us, 2ms));
    }
  }
}

void World::cut(const LinkPtr& link) {
  if (link->closed) return;
  trace("link", "{} - {} is cut", link->ends[0].process->name, link->ends[1].process->name);
  link->closed = link->cut = true;
  for (int end : {0, 1}) {
    link->ends[end].last = now_;
    link->ends[end].held.clear();
    tell_lost(link, end, between(50us, 20ms));
  }
}

void World::close_streams(int here, int there) {
  for (const LinkPtr& link : std::vector(links_)) {
    for (int end : {0, 1}) {
      if (link->ends[end].process->host != here || link->ends[1 - end].process->host != there)
        continue;
      // Also one whose other end died without a word.
      link->ends[end].last = now_;
      link->ends[end].held.clear();
      tell_lost(link, end, between(50us, 1ms));
      if (!link->closed) send_loss(link, 1 - end, between(50us, 2ms));
      link->closed = true;
    }
  }
}

bool World::is_open(int from, int to) const {
  return from == to || (passes(from, to) && !frozen_.contains(from) && !frozen_.contains(to));
}

void World::shut(int from, int to) {
  trace("network", "{} -> {} is cut", from, to);
  ways_changed_ = now_;
  shut_.insert({from, to});
}

void World::open(int from, int to) {
  if (shut_.erase({from, to}) == 0) return;
  trace("network", "{} -> {} is whole", from, to);
  flush();
}

void World::open_all() {
  shut_.clear();
  flush();
}

void World::freeze(int host) {
  ways_changed_ = now_;
  frozen_.insert(host);
}

void World::thaw(int host) {
  if (frozen_.erase(host) > 0) flush();
}

void World::flush() {
  ways_changed_ = now_;
  for (const LinkPtr& link : std::vector(links_)) {
    for (int end : {0, 1}) {
      Link::End& to = link->ends[end];
      while (!to.held.empty() && is_open(link->ends[1 - end].process->host, to.process->host)) {
        auto what = std::move(to.held.front());
        to.held.pop_front();
        if (!link->cut && !to.told) run_or_hold(to.process, std::move(what));
      }
    }
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
