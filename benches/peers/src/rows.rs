//! What is measured, and the rows that come of it.

use cache_peers_measure::{
    Question,
    comparison::{Bound, Row},
    worker::Answer,
};

use crate::programs::Subject;

/// Which rows are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection<'a> {
    filter: Option<&'a str>,
}

impl<'a> Selection<'a> {
    /// Those whose name has `filter` in it, or all.
    pub(crate) const fn new(filter: Option<&'a str>) -> Self {
        Self { filter }
    }

    /// What any of `peers` is to be asked.
    pub(crate) fn questions_of(&self, peers: &[Subject]) -> Vec<Question> {
        let is_wanted = |question: &Question| peers.iter().any(|peer| self.has(*peer, *question));
        Question::ALL.into_iter().filter(is_wanted).collect()
    }

    fn has(&self, peer: Subject, question: Question) -> bool {
        self.filter.is_none_or(|filter| name(peer, question).contains(filter))
    }
}

/// The figures of ours and of a peer from runs beside each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs {
    ours: Vec<f64>,
    its: Vec<f64>,
    /// Why the peer has none.
    reason: Option<String>,
}

impl Pairs {
    /// Adds what a round has brought.
    pub(crate) fn add(&mut self, ours: f64, its: Answer) {
        self.ours.push(ours);
        match its {
            Answer::Figure(figure) => self.its.push(figure),
            Answer::Cannot(reason) => self.reason = Some(format!("cannot: {reason}")),
            Answer::Failed(error) => self.reason = Some(format!("failed: {error}")),
        }
    }
}

/// The row of a question to a peer: ours must not be behind. Where the peer has no figure, or not
/// in each round, ours stands alone and nothing is demanded.
pub(crate) fn row(peer: Subject, question: Question, pairs: &Pairs) -> Row {
    let (name, unit) = (name(peer, question), question.unit());
    if let Some(reason) = &pairs.reason {
        let alone = Row::alone(name, unit, &pairs.ours).noted(reason);
        return Row { reference_name: peer.name.to_owned(), ..alone };
    }
    let row = Row::paired(name, unit, &pairs.ours, peer.name, &pairs.its);
    match question.bound() {
        Bound::AtMost => row.at_most(1.0),
        Bound::AtLeast => row.at_least(1.0),
    }
}

fn name(peer: Subject, question: Question) -> String {
    format!("{} beside {}", question.name(), peer.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::PEERS;

    fn pairs(answers: impl IntoIterator<Item = (f64, Answer)>) -> Pairs {
        let mut pairs = Pairs::default();
        answers.into_iter().for_each(|(ours, its)| pairs.add(ours, its));
        pairs
    }

    #[test]
    fn a_row_demands_less_time_and_more_operations_a_second_than_the_peer_has() {
        let slower = pairs([(2.0, Answer::Figure(1.0)), (2.0, Answer::Figure(1.0))]);
        assert!(!row(PEERS[0], Question::NearHot, &slower).ok);
        assert!(row(PEERS[0], Question::L1Many, &slower).ok);
        let same = pairs([(1.0, Answer::Figure(1.0))]);
        assert!(row(PEERS[0], Question::HerdLoads, &same).ok);
    }

    #[test]
    fn a_peer_without_a_figure_is_told_with_the_reason_and_demands_nothing() {
        let failed = Answer::Failed("it hangs".to_owned());
        let row =
            row(PEERS[1], Question::Load, &pairs([(3.0, Answer::Figure(1.0)), (3.0, failed)]));
        assert_eq!((row.ours, row.reference, row.target), (Some(3.0), None, None));
        assert_eq!(row.note.as_deref(), Some("failed: it hangs"));
        assert!(row.ok && row.reference_name == PEERS[1].name);
    }

    #[test]
    fn a_filter_finds_rows_by_question_or_by_peer() {
        let near = Selection::new(Some("near hit"));
        assert_eq!(near.questions_of(&PEERS), [Question::NearHot, Question::NearWide]);
        let sisa = Selection::new(Some("sisa"));
        assert_eq!(sisa.questions_of(&PEERS[1..2]), Question::ALL);
        assert!(sisa.questions_of(&PEERS[..1]).is_empty());
        assert_eq!(Selection::new(None).questions_of(&PEERS), Question::ALL);
    }
}
