//! Section of the settings: a struct whose fields stand beside their readings.

/// Makes a section and its `load`. Fields are read in their order, so the first mistake wins, and a reading may use the
/// fields before it.
macro_rules! section {
    (
        $(#[$about:meta])*
        $name:ident($($given:ident: $of:ty),*) {
            $($(#[$of_field:meta])* $field:ident: $kind:ty = $reading:expr;)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone)]
        pub struct $name { $($(#[$of_field])* pub $field: $kind,)* }

        impl $name {
            /// Reads and validates the section.
            #[allow(unused_doc_comments, unused_mut)]
            pub(crate) fn load($($given: $of),*) -> Result<$name, Error> {
                $($(#[$of_field])* let mut $field = $reading;)*
                Ok($name { $($(#[$of_field])* $field,)* })
            }
        }
    };
}
pub(super) use section;
