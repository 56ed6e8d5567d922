//! How a suite of properties is declared.

/// Declares the properties once: as functions over a harness, as a list, and as tests.
///
/// `$suite` is the name in the testkit of the module that calls this, `$tests` the macro that it makes, and `$bound` the
/// harness; a `Ground` must be in scope.
macro_rules! properties {
    (
        $(#[$doc:meta])*
        $tests:ident in $suite:ident over $bound:ident;
        $($module:ident: $($property:ident),+;)+
    ) => {
        /// The names of all properties, in the order in which they run.
        pub const PROPERTIES: &[&str] = &[$($(stringify!($property)),+),+];

        $($(
            #[doc = concat!("Checks the property `", stringify!($property), "`.")]
            ///
            /// # Panics
            ///
            /// When what is tested does not have it.
            pub async fn $property(harness: &dyn $bound) {
                $module::$property(&Ground::new(harness).await).await;
            }
        )+)+

        /// Runs every property, and answers with the names of those that do not hold.
        ///
        /// Meant for tests of the suite itself: its macro makes each property a test of its own.
        pub async fn violations(harness: Arc<dyn $bound>) -> Vec<&'static str> {
            let mut violated = Vec::new();
            $($({
                let harness = Arc::clone(&harness);
                let run = tokio::spawn(async move { $property(&*harness).await });
                if run.await.is_err() {
                    violated.push(stringify!($property));
                }
            })+)+
            violated
        }

        $(#[$doc])*
        ///
        /// The first argument is the type under test, which names the tests' subject. The second
        /// is an expression, in an async context, for an `Option` of a harness: nothing when the
        /// server for it is not there, which passes after a word about it (see
        /// [`service_url`](crate::testkit::service_url)).
        #[macro_export]
        macro_rules! $tests {
            ($tier:ident, $harness:expr) => {
                $($(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $property() {
                        if let Some(harness) = $harness {
                            $crate::testkit::$suite::$property(&harness).await;
                        }
                    }
                )+)+
            };
        }
    };
}

pub(crate) use properties;
