//! The menu that answers when no language model does: told from its clip, chosen by key or word.
//! Knows choices and attempts. What a choice's tool does is the tool's business.

use crate::{Output, cdr::Cause, machine::Call};
use conversation::{Expectation, Interruptible, MenuOption};
use std::time::Instant;

/// How a call stands to its menu.
#[derive(Default)]
pub(crate) struct MenuState {
    /// The menu was told: what the caller says next is a choice first.
    open: bool,
    /// It is to be told at the end of the next turn.
    pub(crate) wanted: bool,
    told: u32,
}

impl MenuState {
    /// Whether what the caller says next is a choice first.
    pub(crate) const fn answers(&self) -> bool {
        self.open || self.wanted
    }
}

impl Call {
    /// Tells the menu instead of "I am having trouble". False if there is none.
    pub(crate) fn tell_menu(&mut self, now: Instant, out: &mut Vec<Output>) -> bool {
        let Some(attempts) = self.setup.agent.menu().map(|menu| menu.attempts) else { return false };
        self.menu.wanted = false;
        if self.menu.told >= attempts {
            self.say_goodbye(now, Cause::LlmFailed, out);
            return true;
        }
        self.menu.told += 1;
        self.menu.open = true;
        let clip = self.setup.clips.menu.clone();
        self.say_clip(now, &clip, out);
        self.close_text(out);
        // One key is a whole answer.
        self.floor.expect(Expectation::Digits { count: Some(1) });
        true
    }

    /// Takes the caller's words for a choice, if a menu is open and they are one. The turn has begun.
    pub(crate) fn choose(&mut self, now: Instant, text: &str, digits: bool, out: &mut Vec<Output>) -> bool {
        if !self.menu.open {
            return false;
        }
        let Some(menu) = self.setup.agent.menu() else { return false };
        let Some(chosen) = menu.choose(text, digits) else {
            // Words that are no choice go to the model: it may be back. A wrong key does not.
            return digits && self.tell_menu(now, out);
        };
        let option = menu.options[chosen].clone();
        let clip = self.setup.clips.menu_options.get(chosen).cloned().unwrap_or_default();
        self.menu.told = 0;
        self.floor.agent_starts(now, Interruptible::Any);
        if let Some(reply) = &mut self.reply {
            reply.scripted = true;
            reply.then = option.ends.then_some(Cause::AgentEnded);
        }
        self.say_clip(now, &clip, out);
        self.start_choice(now, &option, out);
        true
    }

    fn start_choice(&mut self, now: Instant, option: &MenuOption, out: &mut Vec<Output>) {
        let turn = self.turn;
        if let Some(call) = option.call(format!("menu-{turn}")) {
            self.start_tool(now, turn, call, out);
        }
        self.go_on(now, out);
    }

    /// A model answers again: what the caller says is for it.
    pub(crate) fn close_menu(&mut self) {
        self.menu.open = false;
        self.menu.told = 0;
    }
}
